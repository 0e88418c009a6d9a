import numpy as np
import pytest

from miha.gapfill.intervals import FEWEST, NORMAL, SHARES, intervals_of


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_of_normal_errors_they_are_those_of_a_normal_distribution_whatever_the_size_of_errors(rng):
    errors = rng.normal(size=100_000)
    for scale in (0.01, 1, 50):
        assert intervals_of(scale * errors) == pytest.approx(NORMAL, rel=0.03)
    assert (NORMAL[50], NORMAL[95]) == pytest.approx((0.6745, 1.96), abs=1e-3)


def test_they_hold_what_they_say_of_errors_with_long_tails_where_normal_ones_hold_too_many(rng):
    errors = rng.standard_t(3, 200_000)
    known, others = np.split(errors / errors.std(), 2)
    widths = intervals_of(known)
    for share in SHARES:
        assert 100 * (np.abs(others) <= widths[share] * known.std()).mean() == pytest.approx(share, abs=0.5)
    assert (np.abs(others) <= NORMAL[50]).mean() > 0.6
    assert list(widths.values()) == sorted(widths.values())


def test_few_errors_and_errors_of_0_tell_no_shape(rng):
    assert intervals_of(rng.standard_t(3, FEWEST - 1)) is NORMAL
    assert intervals_of([]) is NORMAL
    assert intervals_of(np.zeros(2 * FEWEST)) is NORMAL
