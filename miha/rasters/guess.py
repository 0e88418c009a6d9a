"""A first guess of what a gap hides: maps that cover the whole scene, which a network then refines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from miha.rasters.predictors import Background, Static
from miha.rasters.stack import Image

RIDGE_PENALTIES = np.logspace(-2, 6, 17)  # to choose from by leave-one-out error
FADE = 0.01  # share of visible pixels at which a spread residual has faded to half
SPREAD_SCALES = (1.0, 3.0, 9.0, 27.0)  # pixels
AXES = 12  # along which trees see the position of a pixel

Window = tuple[slice, slice]  # rows and columns
WHOLE: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class GuessSettings:
    """How the first guess is made.

    Attributes:
        trees: number of extremely randomized trees; half of them refine ridge, half climatology.
        leaf: smallest number of pixels in a leaf.
        fit_pixels: at most so many visible pixels are fitted, drawn at random, so that cost grows linearly in pixels.
    """

    trees: int = 40
    leaf: int = 2
    fit_pixels: int = 20_000


@dataclass(frozen=True)
class Guess:
    """Full-cover maps (height, width) for one scene or a window of it, in its unit.

    Attributes:
        climatology: the level of each pixel over the other days, plus this scene's mean offset from it.
        ridge: ridge regression of the scene on the other days, terrain and land cover.
        refined: (2, height, width), ridge and climatology, each plus trees fitted to what it leaves. Where little is
            visible, ridge can carry the guess far off; climatology cannot. Where the scene is visible, only trees that
            did not see the pixel vote (out of bag), so that an error means the same there as inside the gaps.
        spread: standard deviation between all trees, each with what it refines.
        interpolated: (scales, height, width), ``ridge`` plus what it leaves of the visible pixels, spread into the gaps
            at each of SPREAD_SCALES.
    """

    climatology: Image
    ridge: Image
    interpolated: NDArray[np.float32]
    refined: NDArray[np.float32]
    spread: Image

    @property
    def value(self) -> Image:
        """The best guess: the mean of ``refined``."""
        return np.asarray(self.refined.mean(axis=0))


def tree_features(background: Background, static: Static) -> NDArray[np.float32]:
    """Predictors of every pixel, (pixels, features): the other days, their level, static layers, and positions.

    Positions are along axes turned by equal angles (oblique geographic coordinates, Møller et al. 2020, SOIL 6, 269):
    a tree that splits rows and columns alone sees boxes, while weather fronts and coasts run anyhow.
    """
    rows, columns = np.mgrid[: background.level.shape[0], : background.level.shape[1]].astype(np.float32)
    turns = np.arange(AXES)[:, None, None] * np.float32(np.pi / AXES)
    positions = np.cos(turns) * columns + np.sin(turns) * rows
    layers = np.concatenate(
        [background.filled, background.level[None], static.continuous, static.classes, positions.astype(np.float32)]
    )
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
    from sklearn.linear_model import RidgeCV  # costs a second, and only some processes guess

    fitted = visible_pixels(scene, settings.fit_pixels, rng)
    climatology = background.level + np.float32(np.nanmean(scene - background.level))
    with threadpool_limits(1):  # more threads give other last bits
        linear = linear_features(background, static)
        ridge = RidgeCV(RIDGE_PENALTIES).fit(linear[fitted], scene.ravel()[fitted]).predict(linear)
        ridge = ridge.astype(np.float32).reshape(scene.shape)
        features = tree_features(background, static)
        trends = (ridge, climatology)
        refined = [refine(scene, trend, features, fitted, settings, rng, window) for trend in trends]
    interpolated = ridge + spread_residuals(scene, ridge, SPREAD_SCALES)
    return Guess(
        climatology=climatology[window],
        ridge=ridge[window],
        interpolated=interpolated[:, *window],
        refined=np.stack([mean for mean, _ in refined]),
        spread=np.concatenate([votes for _, votes in refined]).std(axis=0),
    )


def refine(
    scene: Image,
    trend: Image,
    features: NDArray[np.float32],
    fitted: NDArray[np.int64],
    settings: GuessSettings,
    rng: np.random.Generator,
    window: Window,
) -> tuple[Image, NDArray[np.float32]]:
    """Fit half of the trees to what a trend leaves of the visible pixels.

    Args:
        scene: (height, width), NaN in the gaps.
        trend: (height, width), known everywhere.
        features: (pixels, features), of all pixels.
        fitted: flat indices of the pixels to fit.
        settings: size of the forest.
        rng: draws the trees.
        window: rows and columns that are wanted.

    Returns:
        The trend as the trees correct it (rows, columns), and as each of them does (trees, rows, columns). In the first
        a tree counts where it did not see the pixel; where all trees saw it, all count.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    seed = int(rng.integers(2**31))
    forest = ExtraTreesRegressor(
        settings.trees // 2, min_samples_leaf=settings.leaf, bootstrap=True, n_jobs=1, random_state=seed
    )
    forest.fit(features[fitted], (scene - trend).ravel()[fitted])
    wanted = np.arange(scene.size).reshape(scene.shape)[window]
    asked = features[wanted.ravel()]
    votes = np.stack([(trend[window].ravel() + tree.predict(asked)).astype(np.float32) for tree in forest.estimators_])
    counted = np.ones((len(votes), scene.size), bool)
    for tree, drawn in enumerate(forest.estimators_samples_):
        counted[tree, fitted[drawn]] = False
    counted[:, ~counted.any(axis=0)] = True
    counted = counted[:, wanted.ravel()]
    mean = votes.sum(axis=0, where=counted) / counted.sum(axis=0, dtype=np.float32)
    return mean.reshape(wanted.shape), votes.reshape(-1, *wanted.shape)


def spread_residuals(scene: Image, trend: Image, scales: Sequence[float]) -> NDArray[np.float32]:
    """What the visible pixels leave of a trend, spread into the gaps: a Gaussian mean of what is near, for each scale.

    Normalised convolution (Knutsson and Westin 1993): far from all that is visible the mean fades to 0.

    Args:
        scene: (height, width), NaN in the gaps.
        trend: (height, width), known everywhere.
        scales: standard deviations of the Gaussians, pixels.

    Returns:
        (scales, height, width), in the unit of the scene.
    """
    visible = ~np.isnan(scene)
    residual = np.where(visible, scene - trend, 0)
    weight = visible.astype(np.float32)
    blurred = [
        scipy.ndimage.gaussian_filter(residual, s, mode="nearest")
        / (scipy.ndimage.gaussian_filter(weight, s, mode="nearest") + FADE)
        for s in scales
    ]
    return np.stack(blurred).astype(np.float32)
