"""What predicts a pixel in a gap: the visible part of its scene, the other days, terrain and land cover.

For one scene this makes a :class:`Guess`: maps that cover the whole scene, gaps included. A network refines it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from miha.errors import DataError
from miha.rasters.stack import Grid, Image, Scene, list_rasters, read_scene

MAX_CLASSES = 32  # an integer layer with at most so many values is one of classes
KEPT_CLASSES = 6  # the most frequent classes become channels of their own
RIDGE_PENALTIES = np.logspace(-2, 6, 17)  # to choose from by leave-one-out error
FADE = 0.01  # share of visible pixels at which a spread residual has faded to half
SPREAD_SCALES = (1.0, 3.0, 9.0, 27.0)  # pixels
AXES = 12  # along which trees see the position of a pixel
MIN_COMMON = 30  # pixels that two scenes must share before their correlation means something

Window = tuple[slice, slice]  # rows and columns
WHOLE: Window = (slice(None), slice(None))


class Layer(BaseModel):
    """How one static raster becomes channels; kept in archives, so that filling scales as training did.

    ``codes`` are the most frequent classes; None for a continuous layer, which is standardised by ``mean`` and ``std``.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    codes: tuple[float, ...] | None
    mean: float
    std: float


@dataclass(frozen=True)
class Static:
    """Layers that do not change with time.

    Attributes:
        layers: what they are.
        continuous: (n, height, width), e.g. elevation, standardised over the scene; 0 where unknown.
        classes: (n, height, width), e.g. land cover codes; -1 where unknown.
        one_hot: (n, height, width), 0 or 1, a map for each frequent class.
    """

    layers: tuple[Layer, ...]
    continuous: NDArray[np.float32]
    classes: NDArray[np.float32]
    one_hot: NDArray[np.float32]


def read_static(folder: Path, grid: Grid, known: Sequence[Layer] = ()) -> Static:
    """Read all rasters of ``static/``; one of integers with at most MAX_CLASSES values is taken as classes.

    A missing folder is no error: then there are no layers. Layers that are ``known`` by name, from training, are
    scaled as they were there.

    Raises:
        DataError: a layer that cannot be read or does not lie on ``grid``.
    """
    by_name = {layer.name: layer for layer in known}
    layers: list[Layer] = []
    continuous: list[Image] = []
    classes: list[Image] = []
    one_hot: list[Image] = []
    for path in list_rasters(folder) if folder.is_dir() else []:
        scene = read_scene(path)
        if difference := grid.difference(replace(scene.grid, bands=grid.bands)):
            raise DataError(f"{path} does not fit the scenes: {difference}. Bring all rasters to one grid (gdalwarp).")
        layer = by_name.get(path.stem) or _describe(path, scene)
        layers.append(layer)
        if layer.codes is None:
            continuous.append(np.nan_to_num((scene.values - layer.mean) / layer.std).astype(np.float32))
        else:
            classes.append(np.nan_to_num(scene.values, nan=-1))
            one_hot += [(scene.values == code).astype(np.float32) for code in layer.codes]
    return Static(tuple(layers), *(_stacked(images, grid) for images in (continuous, classes, one_hot)))


def _describe(path: Path, scene: Scene) -> Layer:
    found, counts = np.unique(scene.values[~scene.gaps], return_counts=True)
    if not len(found):
        raise DataError(f"{path} has no valid pixel. Remove it from {path.parent.name}/.")
    mean, std = float(np.nanmean(scene.values)), float(np.nanstd(scene.values)) or 1.0
    if scene.integer and len(found) <= MAX_CLASSES:
        frequent = found[np.argsort(-counts, kind="stable")][:KEPT_CLASSES]
        return Layer(name=path.stem, codes=tuple(float(code) for code in frequent), mean=mean, std=std)
    return Layer(name=path.stem, codes=None, mean=mean, std=std)


def _stacked(images: list[Image], grid: Grid) -> NDArray[np.float32]:
    return np.stack(images) if images else np.empty((0, grid.height, grid.width), np.float32)


@dataclass(frozen=True)
class Background:
    """The other days of a scene, as ``values[day, pixel] = level[pixel] + offset[day] + anomaly[day, pixel]``.

    Attributes:
        level: (height, width); a pixel that no day shows takes its nearest neighbour's.
        offsets: (days,), the mean departure of each day.
        anomalies: (days, height, width), NaN in the gaps.
    """

    level: Image
    offsets: NDArray[np.float32]
    anomalies: NDArray[np.float32]

    @classmethod
    def of(cls, values: NDArray[np.float32], rounds: int = 5) -> "Background":
        """Fit level and offsets to (days, height, width) by alternating means over what was observed."""
        seen = ~np.isnan(values)
        filled = np.where(seen, values, 0)
        per_day, per_pixel = seen.sum(axis=(1, 2)), seen.sum(axis=0)
        day_sums, pixel_sums = filled.sum(axis=(1, 2), dtype=np.float64), filled.sum(axis=0, dtype=np.float64)
        offsets = day_sums / per_day
        offsets -= offsets.mean()
        for _ in range(rounds):
            level = (pixel_sums - np.einsum("d,dij->ij", offsets, seen)) / np.maximum(per_pixel, 1)
            offsets = (day_sums - np.einsum("ij,dij->d", level, seen)) / per_day
        if (per_pixel == 0).any():
            nearest = scipy.ndimage.distance_transform_edt(per_pixel == 0, return_distances=False, return_indices=True)
            level = level[tuple(nearest)]
        level, offsets = level.astype(np.float32), offsets.astype(np.float32)
        return cls(level, offsets, values - level - offsets[:, None, None])

    @property
    def filled(self) -> NDArray[np.float32]:
        """The days (days, height, width) with gaps filled by level and offset."""
        return self.level + self.offsets[:, None, None] + np.nan_to_num(self.anomalies)


@dataclass(frozen=True)
class GuessSettings:
    """How the first guess is made; stored in every archive that was trained on it.

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
    corrections = np.stack([tree.predict(asked).reshape(wanted.shape) for tree in forest.estimators_])
    counted = np.ones((len(corrections), scene.size), bool)
    for tree, drawn in enumerate(forest.estimators_samples_):
        counted[tree, fitted[drawn]] = False
    counted[:, ~counted.any(axis=0)] = True
    counted = counted[:, wanted]
    votes = (trend[window] + corrections).astype(np.float32)
    return np.where(counted, votes, 0).sum(axis=0) / counted.sum(axis=0, dtype=np.float32), votes


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


def analogues(scene: Image, background: Background, number: int) -> NDArray[np.int64]:
    """The days whose anomalies correlate best with the visible part of the scene, best first.

    Days with fewer than 30 pixels in common come last. Always ``number`` indices; the last day repeats if there are
    fewer days than that.
    """
    departure = scene - background.level
    both = ~np.isnan(background.anomalies) & ~np.isnan(departure)
    common = both.sum(axis=(1, 2))
    ours = np.where(both, departure, 0).astype(np.float64)
    theirs = np.where(both, background.anomalies, 0).astype(np.float64)
    count = np.maximum(common, 1)
    covariance = (ours * theirs).sum((1, 2)) - ours.sum((1, 2)) * theirs.sum((1, 2)) / count
    variances = [(part**2).sum((1, 2)) - part.sum((1, 2)) ** 2 / count for part in (ours, theirs)]
    correlation = covariance / np.sqrt(np.maximum(variances[0] * variances[1], 1e-12))
    best = np.argsort(-np.where(common < MIN_COMMON, -2.0, correlation), kind="stable")[:number]
    return np.concatenate([best, np.repeat(best[-1:], number - len(best))])
