import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from miha.gapfill.guess import guess_scene, spread_residuals
from miha.gapfill.predictors import Background, Static
from miha.gapfill.regressions import FOLDS, GuessSettings, tree_features

NOTHING = Static((), *(np.empty((0, 20, 24), np.float32) for _ in range(3)))


def test_a_guess_covers_the_scene_and_beats_climatology(days):
    scene, truth = days[0].copy(), days[0]
    scene[4:12, 6:16] = np.nan
    hidden = np.isnan(scene)
    guess = guess_scene(scene, Background.of(days[1:]), NOTHING, GuessSettings(trees=12), np.random.default_rng(0))
    errors = {name: np.abs(getattr(guess, name) - truth)[hidden].mean() for name in ("climatology", "ridge", "value")}
    assert errors["ridge"] < 0.2 * errors["climatology"]
    assert np.isfinite(guess.value).all()
    assert guess.residuals.shape == (4, 20, 24)
    assert np.array_equal(np.isnan(guess.error), hidden)


def test_where_the_scene_is_visible_no_tree_that_saw_a_pixel_votes_on_it(days):
    """Noise cannot be predicted out of bag, but trees that saw it would reproduce it."""
    rng = np.random.default_rng(0)
    scene = (rng.normal(0, 1, (20, 24)) + days[0]).astype(np.float32)
    scene[:, 20:] = np.nan
    guess = guess_scene(scene, Background.of(days[1:]), NOTHING, GuessSettings(trees=36, leaf=1), rng)
    assert np.nanmean(np.abs(guess.error)) > 0.7


def test_the_guess_is_not_carried_off_where_ridge_is(days):
    """Only low pixels are seen, with twice their usual contrast: ridge expects the same of the high ones."""
    background = Background.of(days[1:])
    low = background.level < np.quantile(background.level, 0.3)
    scene = np.where(low, 2 * background.level, np.nan).astype(np.float32)
    guess = guess_scene(scene, background, NOTHING, GuessSettings(trees=24), np.random.default_rng(0))
    by_ridge, by_climatology, by_trees = guess.refined
    seen = scene[low]
    assert by_ridge.max() > seen.max() + 5
    assert seen.min() - 1e-3 <= by_trees.min() <= by_trees.max() <= seen.max() + 1e-3
    median = np.median(guess.refined, axis=0)
    assert np.allclose(guess.value, median + guess.residuals[0])
    assert median.max() <= by_climatology.max()


def test_what_no_other_day_shows_is_carried_a_little_into_the_gap(days):
    """A warm spot of this day alone reaches under the cloud."""
    spot = np.zeros((20, 24), np.float32)
    spot[8:12, 10:14] = 5
    scene = days[0] + spot
    scene[:, 12:] = np.nan
    guess = guess_scene(scene, Background.of(days[1:]), NOTHING, GuessSettings(trees=12), np.random.default_rng(0))
    near, far = np.s_[9:11, 12], np.s_[9:11, 20]
    without = guess.value - guess.residuals[0]
    error, error_without = (np.abs(value - days[0] - spot)[near].mean() for value in (guess.value, without))
    assert error < 0.8 * error_without
    assert np.abs(guess.residuals[0][far]).max() < 0.1


def test_the_spread_is_that_between_all_trees(days, monkeypatch):
    forests = []

    class Kept(ExtraTreesRegressor):
        def fit(self, *fitted):
            forests.append(self)
            return super().fit(*fitted)

    monkeypatch.setattr("sklearn.ensemble.ExtraTreesRegressor", Kept)
    scene, background = np.where(np.arange(24) < 12, days[0], np.nan), Background.of(days[1:])
    guess = guess_scene(scene, background, NOTHING, GuessSettings(trees=36), np.random.default_rng(0))
    anomalies = tree_features(background.anomalies, background.level, NOTHING)
    filled = tree_features(background.filled, background.level, NOTHING)
    trends = [(guess.ridge, anomalies), (guess.climatology, anomalies), (0, filled)]
    votes = [
        trend + tree.predict(features).reshape(20, 24)
        for (trend, features), number in zip(trends, range(0, len(forests), FOLDS), strict=True)
        for forest in forests[number : number + FOLDS]
        for tree in forest.estimators_
    ]
    assert len(votes) == 36
    assert np.allclose(guess.spread, np.std(votes, axis=0), rtol=1e-3, atol=1e-4)


def test_trees_follow_a_front_that_runs_askew():
    """Nothing but the position tells on which side of the front a hidden pixel lies."""
    days = np.random.default_rng(0).normal(0, 0.1, (5, 40, 40)).astype(np.float32)
    rows, columns = np.mgrid[:40, :40]
    truth = np.where(rows + columns < 40, 0, 10).astype(np.float32)
    scene = truth.copy()
    scene[10:30, 10:30] = np.nan
    nothing = Static((), *(np.empty((0, 40, 40), np.float32) for _ in range(3)))
    guess = guess_scene(scene, Background.of(days), nothing, GuessSettings(), np.random.default_rng(0))
    assert np.abs(guess.value - truth)[np.isnan(scene)].mean() < 1.5  # with rows and columns alone, 2.7


def test_a_window_gets_what_the_whole_scene_gets_there(days):
    scene = days[0].copy()
    scene[4:12, 6:16] = np.nan
    whole, part = (
        guess_scene(scene, Background.of(days[1:]), NOTHING, GuessSettings(trees=12), np.random.default_rng(0), window)
        for window in ((slice(None), slice(None)), (slice(2, 9), slice(5, 20)))
    )
    for name in ("value", "error", "residuals", "climatology", "ridge", "refined", "spread"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[..., 2:9, 5:20], equal_nan=True)


def test_in_a_large_scene_a_part_of_the_pixels_is_fitted(days):
    scene = days[0].copy()
    scene[4:12, 6:16] = np.nan
    settings = GuessSettings(trees=12, fit_pixels=100)
    guess = guess_scene(scene, Background.of(days[1:]), NOTHING, settings, np.random.default_rng(0))
    assert np.abs(guess.value - days[0])[np.isnan(scene)].mean() < 1.0


def test_the_same_generator_gives_the_same_guess(days):
    scene = np.where(np.arange(24) < 12, days[0], np.nan)
    one, two = (
        guess_scene(scene, Background.of(days[1:]), NOTHING, GuessSettings(trees=12), np.random.default_rng(7))
        for _ in range(2)
    )
    assert np.array_equal(one.value, two.value)


def test_residuals_spread_into_gaps_and_fade_far_away():
    residual = np.full((60, 60), 3.0, np.float32)
    residual[:, 10:] = np.nan
    near, far = spread_residuals(residual, (2.0,))[0, 30, [11, 59]]
    assert near == pytest.approx(3.0, rel=0.1)
    assert far == pytest.approx(0.0, abs=0.01)
