import numpy as np
import pytest

from miha.gapfill.eof.scores import Prior, smooth_scores


@pytest.mark.parametrize("ahead", [True, False])
def test_scores_are_the_posterior_of_one_normal_distribution(ahead):
    """Of all days at once, its covariance written down; without days ahead, of the days until each."""
    rng = np.random.default_rng(0)
    days, persistence, variance = np.array([0.0, 1, 2, 5, 6]), 0.7, 3.0
    precision, weighted = rng.uniform(0, 2, (5, 1, 1)), rng.normal(size=(5, 1))
    precision[2] = weighted[2] = 0  # shows nothing
    found = smooth_scores(precision, weighted, days, Prior(np.array([variance]), np.array([persistence])), ahead)
    covariance = variance * persistence ** np.abs(days[:, None] - days)
    for day in range(5):
        known = slice(0, 5 if ahead else day + 1)
        posterior = np.linalg.inv(np.linalg.inv(covariance[known, known]) + np.diag(precision[known, 0, 0]))
        assert found.mean[day, 0] == pytest.approx((posterior @ weighted[known, 0])[day], rel=1e-6)
        assert found.covariance[day, 0, 0] == pytest.approx(posterior[day, day], rel=1e-6)
        if ahead and day:
            assert found.lagged[day, 0, 0] == pytest.approx(posterior[day, day - 1], rel=1e-6)
