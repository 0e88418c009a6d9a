"""A first guess of what a gap hides: maps that cover the whole scene, which a network then refines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from miha.gapfill.predictors import Background, Static
from miha.rasters.stack import Image

RIDGE_PENALTIES = np.logspace(-2, 6, 17)  # to choose from by leave-one-out error
FADE = 0.01  # share of known pixels at which a spread residual has faded to half
SPREAD_SCALES = (1.0, 3.0, 9.0, 27.0)  # pixels
AXES = 12  # along which trees see the position of a pixel
TRENDS = 3  # that trees refine: ridge, climatology, and none
FOLDS = 4  # of the visible pixels; a tree is fitted to all but one of them

Window = tuple[slice, slice]  # rows and columns
WHOLE: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class GuessSettings:
    """How the first guess is made.

    Attributes:
        trees: number of extremely randomized trees, a multiple of TRENDS · FOLDS, shared out evenly.
        leaf: smallest number of pixels in a leaf.
        features: share of the predictors among which a split chooses.
        fit_pixels: at most so many visible pixels are fitted, drawn at random, so that cost grows linearly in pixels.
    """

    trees: int = 48
    leaf: int = 5
    features: float = 0.5
    fit_pixels: int = 20_000


@dataclass(frozen=True)
class Guess:
    """Maps (height, width) for one scene or a window of it, in its unit; all but ``error`` cover it fully.

    Attributes:
        value: the best guess: the median of ``refined`` and what is near of its error. Where little is visible ridge
            can be carried far off, while trees alone never leave the range of what they saw; the median leaves out
            whichever strays.
        error: what the median leaves of the visible pixels; NaN in the gaps.
        residuals: (scales, height, width), that error spread into the gaps at each of SPREAD_SCALES.
        climatology: the level of each pixel over the other days, plus this scene's mean offset from it.
        ridge: ridge regression of the scene on the other days, terrain and land cover.
        refined: (TRENDS, height, width): ridge, climatology, and nothing, each plus trees fitted to what it leaves.
            Where the scene is visible, only trees that did not see the pixel vote, so that an error means the same
            there as inside the gaps.
        spread: standard deviation between all trees, each with what it refines.
    """

    value: Image
    error: Image
    residuals: NDArray[np.float32]
    climatology: Image
    ridge: Image
    refined: NDArray[np.float32]
    spread: Image


def tree_features(days: NDArray[np.float32], level: Image, static: Static) -> NDArray[np.float32]:
    """Predictors of every pixel, (pixels, features): the other days, their level, static layers, and positions.

    Positions are along axes turned by equal angles (oblique geographic coordinates, Møller et al. 2020, SOIL 6, 269):
    a tree that splits rows and columns alone sees boxes, while weather fronts and coasts run anyhow.
    """
    rows, columns = np.mgrid[: level.shape[0], : level.shape[1]].astype(np.float32)
    turns = np.arange(AXES)[:, None, None] * np.float32(np.pi / AXES)
    positions = np.cos(turns) * columns + np.sin(turns) * rows
    layers = np.concatenate([days, level[None], static.continuous, static.classes, positions.astype(np.float32)])
    return np.ascontiguousarray(layers.reshape(len(layers), -1).T)


def linear_features(background: Background, static: Static) -> NDArray[np.float32]:
    """Predictors for a linear model, (pixels, features), standardised: days, level, continuous and one-hot layers."""
    layers = np.concatenate([background.filled, background.level[None], static.continuous, static.one_hot])
    matrix = layers.reshape(len(layers), -1).T
    return np.asarray((matrix - matrix.mean(axis=0)) / (matrix.std(axis=0) + 1e-6), np.float32)


def visible_pixels(scene: Image, at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Flat indices of the visible pixels, or of ``at_most`` of them drawn at random."""
    visible = np.flatnonzero(~np.isnan(scene))
    return visible if len(visible) <= at_most else np.sort(rng.choice(visible, at_most, replace=False))


def fit_climatology(scene: Image, background: Background) -> Image:
    """The level of each pixel over the other days, plus the scene's mean offset from it."""
    return np.asarray(background.level + np.float32(np.nanmean(scene - background.level)))


def fit_ridge(scene: Image, background: Background, static: Static, fitted: NDArray[np.int64]) -> Image:
    """Ridge regression of the scene's pixels ``fitted`` on the other days and static layers, for every pixel."""
    from sklearn.linear_model import RidgeCV  # costs a second, and only some processes guess

    features = linear_features(background, static)
    with threadpool_limits(1):  # more threads give other last bits
        values = RidgeCV(RIDGE_PENALTIES).fit(features[fitted], scene.ravel()[fitted]).predict(features)
    return np.asarray(values, np.float32).reshape(scene.shape)


def guess_scene(
    scene: Image,
    background: Background,
    static: Static,
    settings: GuessSettings,
    rng: np.random.Generator,
    window: Window = WHOLE,
) -> Guess:
    """Guess a scene from its visible part and the other days.

    Args:
        scene: (height, width), NaN in the gaps; at least two visible pixels.
        background: the other days; the caller leaves out the scene's own.
        static: layers that do not change.
        settings: size of the forest.
        rng: draws the trees and, in large scenes, the fitted pixels.
        window: rows and columns for which maps are wanted; all visible pixels are fitted in any case.
    """
    pixels = np.arange(scene.size).reshape(scene.shape)[window]
    fitted = visible_pixels(scene, settings.fit_pixels, rng)
    asked = np.union1d(pixels, fitted)  # errors beside the window reach into it
    climatology = fit_climatology(scene, background)
    ridge = fit_ridge(scene, background, static, fitted)
    anomalies = tree_features(np.nan_to_num(background.anomalies), background.level, static)
    days = tree_features(background.filled, background.level, static)
    trends = ((ridge, anomalies), (climatology, anomalies), (np.zeros_like(ridge), days))
    with threadpool_limits(1):
        forests = [refine(scene, *trend, fitted, asked, settings, rng) for trend in trends]
    refined, means, variances = (np.stack(maps) for maps in zip(*forests, strict=True))
    median = np.median(refined, axis=0)
    error = np.full_like(scene, np.nan)
    error.flat[asked] = scene.flat[asked] - median
    residuals = spread_residuals(error, SPREAD_SCALES)[:, *window]
    inside = np.searchsorted(asked, pixels)
    return Guess(
        value=median[inside] + residuals[0],
        error=error[window],
        residuals=residuals,
        climatology=climatology[window],
        ridge=ridge[window],
        refined=refined[:, inside],
        # by the law of total variance, as all forests have as many trees: so the votes need not be kept
        spread=np.sqrt(variances.mean(axis=(0, 1)) + means.var(axis=(0, 1)))[inside],
    )


def refine(
    scene: Image,
    trend: Image,
    features: NDArray[np.float32],
    fitted: NDArray[np.int64],
    asked: NDArray[np.int64],
    settings: GuessSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Correct a trend by what it leaves of the visible pixels: a forest for each fold of them, fitted to all others.

    Args:
        scene: (height, width), NaN in the gaps.
        trend: (height, width), known everywhere.
        features: (pixels, features), of all pixels.
        fitted: flat indices of the pixels to fit.
        asked: flat indices of the pixels to correct.
        settings: size of the forest.
        rng: draws the folds and the trees.

    Returns:
        The trend as corrected by the forest that did not see the pixel, or by the mean of all where none did (asked);
        as corrected by each (FOLDS, asked); and the variance of each forest's trees, the same.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    residual = (scene - trend).ravel()
    fold = np.full(scene.size, -1)
    fold[fitted] = rng.permutation(len(fitted)) % FOLDS
    wanted = features[asked]
    means, variances = np.empty((2, FOLDS, len(asked)), np.float32)
    for held in range(FOLDS):
        seen = fitted[fold[fitted] != held]
        seed, number = int(rng.integers(2**31)), settings.trees // (TRENDS * FOLDS)
        forest = ExtraTreesRegressor(
            number, min_samples_leaf=settings.leaf, max_features=settings.features, n_jobs=1, random_state=seed
        )
        forest.fit(features[seen], residual[seen])
        votes = np.stack([tree.predict(wanted) for tree in forest.estimators_])
        means[held] = trend.flat[asked] + votes.mean(axis=0)
        variances[held] = votes.var(axis=0)
    own = fold[asked]
    unseen = np.take_along_axis(means, np.maximum(own, 0)[None], axis=0)[0]
    return np.where(own < 0, means.mean(axis=0), unseen), means, variances


def spread_residuals(residual: Image, scales: Sequence[float]) -> NDArray[np.float32]:
    """Spread residuals into the gaps: a Gaussian mean of what is near, for each scale.

    Normalised convolution (Knutsson and Westin 1993): far from all that is known the mean fades to 0.

    Args:
        residual: (height, width), NaN where it is not known.
        scales: standard deviations of the Gaussians, pixels.

    Returns:
        (scales, height, width), in the unit of the residuals.
    """
    known, weight = np.nan_to_num(residual), (~np.isnan(residual)).astype(np.float32)
    blurred = [
        scipy.ndimage.gaussian_filter(known, s, mode="nearest")
        / (scipy.ndimage.gaussian_filter(weight, s, mode="nearest") + FADE)
        for s in scales
    ]
    return np.stack(blurred).astype(np.float32)
