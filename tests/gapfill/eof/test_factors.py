import numpy as np

from miha.gapfill.eof.factors import fit_factors


def made(days, pixels=600, gaps=0.4):
    """Days of one pattern, an offset and a season, with noise of 0.1; and the same with gaps."""
    rng = np.random.default_rng(0)
    turn = 2 * np.pi * np.arange(days) / 365.25
    level, pattern, season = rng.normal(0, 5, pixels), rng.normal(0, 1, pixels), rng.normal(4, 1, pixels)
    scores, offsets = 2 * rng.standard_normal(days), 3 * rng.standard_normal(days)
    truth = 280 + level + np.outer(scores, pattern) + offsets[:, None] + np.outer(np.sin(turn), season)
    values = (truth + 0.1 * rng.standard_normal(truth.shape)).astype(np.float32)
    values[rng.random(values.shape) < gaps] = np.nan
    return truth, values


def test_days_with_gaps_are_told_apart_from_noise():
    truth, values = made(40)
    factors = fit_factors(values, np.arange(40))
    expected = factors.design @ factors.loadings(values, factors.design) + factors.centre
    assert np.abs(expected - truth).mean() < 0.2
    assert factors.noise < 0.3


def test_the_season_is_known_where_there_is_a_year_of_days():
    truth, values = made(400)
    values[100:130] = np.nan
    factors = fit_factors(values, np.arange(400))
    expected = factors.design @ factors.loadings(values, factors.design) + factors.centre
    error = (expected - truth)[100:130]
    assert factors.number > 0
    assert np.abs(error - error.mean(axis=1, keepdims=True)).mean() < 2.2  # what scores of unseen days alone leave


def test_one_day_is_enough_and_none_of_its_numbers_is_lost():
    _, values = made(1)
    factors = fit_factors(values, np.arange(1))
    expected = factors.design @ factors.loadings(values, factors.design) + factors.centre
    assert np.isfinite(expected).all()
    assert np.nanmean(np.abs(expected - values)) < 0.5 * np.nanstd(values)
