"""What predicts a pixel in a gap, beside the visible part of its scene: the other days, terrain and land cover."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from miha.errors import DataError
from miha.rasters.opened import OpenScene, sample_of
from miha.rasters.scene import sample_scene
from miha.rasters.stack import Grid, Image, ReadOptions, Scene, list_rasters, read_scene

MAX_CLASSES = 32  # an integer layer with at most so many values is one of classes
KEPT_CLASSES = 6  # the most frequent classes become channels of their own
MIN_COMMON = 30  # pixels that two scenes must share before their correlation means something


class Layer(BaseModel):
    """How one static raster becomes predictors.

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

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> "Static":
        """No layers, for scenes of a shape (height, width)."""
        empty = np.empty((0, *shape), np.float32)
        return cls((), empty, empty, empty)

    def window(self, where: tuple[slice, slice]) -> "Static":
        """Those of a window."""
        return Static(self.layers, *(part[:, *where] for part in (self.continuous, self.classes, self.one_hot)))


class StaticFiles:
    """Static layers that are opened and not read.

    Args:
        folder: as in :func:`read_static`.
        grid: of the scenes.

    Raises:
        DataError: as in :func:`read_static`.
    """

    def __init__(self, folder: Path, grid: Grid) -> None:
        self.shape = grid.height, grid.width
        pixels = sample_of(self.shape)
        self.layers: list[tuple[Layer, OpenScene]] = []
        for path in list_rasters(folder, at_least=0) if folder.is_dir() else []:
            scene = sample_scene(path, ReadOptions(), pixels)
            _check_grid(path, scene, grid)
            self.layers.append((_describe(path, scene), OpenScene(path, ReadOptions(), self.shape)))

    def window(self, where: tuple[slice, slice]) -> Static:
        """Those of a window."""
        shape = tuple(part.stop - part.start for part in where)
        return _encoded([(layer, scene[where]) for layer, scene in self.layers], shape)


def read_static(folder: Path, grid: Grid) -> Static:
    """Read all rasters of ``static/``; one of integers with at most MAX_CLASSES values is taken as classes.

    A missing or empty folder is no error: then there are no layers.

    Raises:
        DataError: a layer that cannot be read or does not lie on ``grid``.
    """
    layers: list[tuple[Layer, Image]] = []
    for path in list_rasters(folder, at_least=0) if folder.is_dir() else []:
        scene = read_scene(path)
        _check_grid(path, scene, grid)
        layers.append((_describe(path, scene), scene.values))
    return _encoded(layers, (grid.height, grid.width))


def _check_grid(path: Path, scene: Scene, grid: Grid) -> None:
    own = replace(scene.grid, bands=grid.bands)
    if grid.place and not own.place:  # nothing but their shapes can be compared
        own = replace(grid, height=own.height, width=own.width)
    if difference := grid.difference(own):
        raise DataError(f"{path} does not fit the scenes: {difference}. Bring all rasters to one grid (gdalwarp).")


def _encoded(layers: Sequence[tuple[Layer, Image]], shape: tuple[int, ...]) -> Static:
    continuous: list[Image] = []
    classes: list[Image] = []
    one_hot: list[Image] = []
    for layer, values in layers:
        if layer.codes is None:
            continuous.append(np.nan_to_num((values - layer.mean) / layer.std).astype(np.float32))
        else:
            classes.append(np.nan_to_num(values, nan=-1))
            one_hot += [(values == code).astype(np.float32) for code in layer.codes]
    groups, nothing = (continuous, classes, one_hot), np.empty((0, *shape), np.float32)
    parts = (np.stack(images) if images else nothing for images in groups)
    return Static(tuple(layer for layer, _ in layers), *parts)


def _describe(path: Path, scene: Scene) -> Layer:
    found, counts = np.unique(scene.values[~scene.gaps], return_counts=True)
    if not len(found):
        raise DataError(f"{path} has no valid pixel. Remove it from {path.parent.name}/.")
    mean, std = float(np.nanmean(scene.values)), float(np.nanstd(scene.values)) or 1.0
    if scene.integer and len(found) <= MAX_CLASSES:
        frequent = found[np.argsort(-counts, kind="stable")][:KEPT_CLASSES]
        return Layer(name=path.stem, codes=tuple(float(code) for code in frequent), mean=mean, std=std)
    return Layer(name=path.stem, codes=None, mean=mean, std=std)


@dataclass(frozen=True)
class Offsets:
    """Mean departure of each day from the level of all, (days,): ``last``, from the level that ``former`` give."""

    former: NDArray[np.float64]
    last: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.float32], rounds: int = 5) -> "Offsets":
        """Fit level and offsets to (days, height, width) by alternating means over what was observed."""
        seen, sums, per_pixel = _observed(values)
        per_day = np.maximum(seen.sum(axis=(1, 2)), 1)
        day_sums = np.where(seen, values, 0).sum(axis=(1, 2), dtype=np.float64)
        former = last = day_sums / per_day
        last = last - last.mean()
        for _ in range(rounds):
            former = last
            level = (sums - np.einsum("d,dij->ij", former, seen)) / np.maximum(per_pixel, 1)
            last = (day_sums - np.einsum("ij,dij->d", level, seen)) / per_day
        return cls(former, last)

    def background(self, values: NDArray[np.float32]) -> "Background":
        """Level and anomalies of any window of the days, (days, height, width)."""
        seen, sums, per_pixel = _observed(values)
        level = (sums - np.einsum("d,dij->ij", self.former, seen)) / np.maximum(per_pixel, 1)
        if (per_pixel == 0).any():
            nearest = scipy.ndimage.distance_transform_edt(per_pixel == 0, return_distances=False, return_indices=True)
            level = level[tuple(nearest)]
        level, offsets = level.astype(np.float32), self.last.astype(np.float32)
        return Background(level, offsets, values - level - offsets[:, None, None], np.ones(len(values), np.float32))


def _observed(values: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    """Of days (days, height, width): where they are visible; sum and number of the days that show a pixel."""
    seen = ~np.isnan(values)
    return seen, np.where(seen, values, 0).sum(axis=0, dtype=np.float64), seen.sum(axis=0)


@dataclass(frozen=True)
class Background:
    """The other days of a scene, as ``values[day, pixel] = level[pixel] + offset[day] + anomaly[day, pixel]``.

    Attributes:
        level: (height, width); a pixel that no day shows takes its nearest neighbour's.
        offsets: (days,), the mean departure of each day.
        anomalies: (days, height, width), NaN in the gaps.
        weights: (days,), how much each day tells of the scene before it is looked at; 1 in the mean.
    """

    level: Image
    offsets: NDArray[np.float32]
    anomalies: NDArray[np.float32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, values: NDArray[np.float32], rounds: int = 5) -> "Background":
        """Of whole days (days, height, width)."""
        return Offsets.fit(values, rounds).background(values)

    @classmethod
    def none(cls, scene: Image) -> "Background":
        """No other day: the level is the scene's mean everywhere."""
        level = np.full_like(scene, np.nanmean(scene))
        nothing = np.empty(0, np.float32)
        return cls(level, nothing, np.empty((0, *scene.shape), np.float32), nothing)

    def window(self, where: tuple[slice, slice]) -> "Background":
        """That of a window."""
        return replace(self, level=self.level[where], anomalies=self.anomalies[:, *where])

    @property
    def is_empty(self) -> bool:
        """True if there is no other day."""
        return not len(self.anomalies)

    @property
    def filled(self) -> NDArray[np.float32]:
        """The days (days, height, width) with gaps filled by level and offset."""
        return self.level + self.offsets[:, None, None] + np.nan_to_num(self.anomalies)


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
