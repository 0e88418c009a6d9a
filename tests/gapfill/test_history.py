from datetime import date, timedelta

import numpy as np
import pytest

from miha.gapfill.base import fill_base
from miha.gapfill.history import MOST_DAYS, NEAREST, PATTERNS, Choice, background_of, bounded, weighed
from miha.gapfill.predictors import Background, Static
from miha.rasters.stack import Grid, Stack

SHAPE = (24, 26)


@pytest.fixture(scope="module")
def series():
    """Two hundred days, each with clouds: a season, a contrast of changing strength, noise."""
    rng = np.random.default_rng(0)
    season, contrast = rng.standard_normal((2, *SHAPE))
    turn = 2 * np.pi * np.arange(200)[:, None, None] / 365
    values = 280 + 3 * season * np.sin(turn) + rng.normal(0, 2, (200, 1, 1)) * contrast
    values += rng.normal(0, 0.3, values.shape)
    values[rng.random(values.shape) < 0.3] = np.nan
    dates = tuple(date(2020, 1, 1) + timedelta(days=day) for day in range(200))
    return Stack(values.astype(np.float32), dates, Grid(*SHAPE, "", (), 1), "K")


@pytest.fixture
def scene(series):
    """A day in the middle, half of it hidden."""
    scene = series.values[100].copy()
    scene[:, 13:] = np.nan
    return scene


def test_a_short_history_predicts_as_a_whole(series, scene):
    short = series.only(range(80, 80 + MOST_DAYS + 1))
    found = background_of(scene, short, series.dates[100])
    expected = Background.of(short.without(series.dates[100]).values)
    assert found.anomalies.tobytes() == expected.anomalies.tobytes()
    assert found.level.tobytes() == expected.level.tobytes()


def test_a_long_one_predicts_by_as_many_days_and_patterns_as_a_short_one(series, scene):
    found = background_of(scene, series, series.dates[100])
    assert found.anomalies.shape == (MOST_DAYS, *SHAPE)
    assert len(found.offsets) == MOST_DAYS
    assert np.isfinite(found.anomalies[-PATTERNS:]).all()
    others = Background.of(series.without(series.dates[100]).values)
    assert np.array_equal(found.level, others.level)
    own = series.values[100] - others.level
    assert not any(np.array_equal(day, own, equal_nan=True) for day in found.anomalies)


@pytest.mark.parametrize("before", [0, 3, 100, 199])
def test_the_nearest_days_are_among_them_at_the_ends_of_a_history_too(series, scene, before):
    background = Background.of(series.values)
    found = {day.tobytes() for day in bounded(background, scene, np.arange(200) - before).anomalies}
    near = range(max(before - NEAREST, 0), min(before + NEAREST, 200))
    assert {background.anomalies[day].tobytes() for day in near} <= found


def test_a_day_that_resembles_the_scene_is_among_them_however_far(series, scene):
    background = Background.of(series.values)
    twin = background.anomalies[3]
    alike = np.where(np.isnan(scene), np.nan, twin + background.level).astype(np.float32)
    found = {day.tobytes() for day in bounded(background, alike, np.arange(200) - 100).anomalies}
    assert twin.tobytes() in found


def test_equal_scenes_get_equal_bits_and_more_days_do_not_make_a_fill_worse(series, scene):
    truth, hidden = series.values[100], np.isnan(scene) & ~np.isnan(series.values[100])
    errors = []
    for days in (range(80, 121), range(200)):
        part = series.only(days)
        one, other = (background_of(scene, part, series.dates[100]) for _ in range(2))
        assert one.anomalies.tobytes() == other.anomalies.tobytes()
        errors.append(np.abs(fill_base(scene, one, Static.none(SHAPE), 0).mean - truth)[hidden].mean())
    assert errors[1] < 1.02 * errors[0]


def test_days_tell_more_the_nearer_they_are_and_the_more_they_show(series, scene):
    found = background_of(scene, series.only(range(96, 105)), series.dates[100])
    assert found.weights.mean() == pytest.approx(1)
    assert (np.diff(found.weights[:4]) > 0).all()
    assert (np.diff(found.weights[4:]) < 0).all()
    others = series.only([99, 101]).values
    others[1, :, 5:] = np.nan
    nearest = weighed(Background.of(others), np.array([-1, 1]))
    assert nearest.weights[0] > 2 * nearest.weights[1]


def test_patterns_tell_as_much_as_the_days_that_they_sum_up(series, scene):
    days_apart = np.concatenate([np.arange(-100, 0), np.arange(1, 100)])
    known = weighed(Background.of(series.without(series.dates[100]).values), days_apart)
    anomalies = known.anomalies.reshape(len(days_apart), -1)
    choice = Choice.fit(anomalies, (scene - known.level).ravel(), days_apart)
    found = choice.of(known).weights
    expected = np.append(known.weights[choice.kept], [known.weights[choice.rest].mean()] * PATTERNS)
    assert found == pytest.approx(expected / expected.mean(), rel=1e-5)
    assert found[-1] < found.max() / 2


def test_the_only_day_has_no_background(series, scene):
    assert background_of(scene, series.only([100]), series.dates[100]).is_empty
