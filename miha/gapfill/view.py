"""A scene with all that predicts it, of which any window can be had: arrays in memory, or files that are opened."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.features import REACH, Imputation, Layers
from miha.gapfill.guess import Window
from miha.gapfill.history import Choice, apart, weighed
from miha.gapfill.predictors import Background, Offsets, Static, StaticFiles
from miha.gapfill.process import LOOKED_AT
from miha.gapfill.surroundings import Surroundings
from miha.rasters.opened import OpenDays, OpenScene, sample_of
from miha.rasters.stack import Image, Stack
from miha.rasters.window import grown_window

TILE = 256  # pixels a side
VALUES = 8_000_000  # of all days in a tile at most
KEPT = 80_000_000  # values of a scene whose tiles are kept, as they are asked for twice: 1200 x 1200 pixels, 40 days


@dataclass(frozen=True)
class Tile:
    """A window of a scene in memory: the scene (height, width), NaN in the gaps, and what predicts it."""

    scene: Image
    around: Surroundings


class View(ABC):
    """A scene and what predicts it.

    Attributes:
        scene: (height, width), NaN in the gaps; of one that is opened, any window.
        shape: its rows and columns.
        days: how many days are read for a window.
    """

    scene: Image | OpenScene
    shape: tuple[int, int]
    days: int

    @abstractmethod
    def tile(self, where: Window) -> Tile:
        """A window, its slices from 0 to at most the shape."""

    @abstractmethod
    def at(self, pixels: NDArray[np.int64]) -> NDArray[np.float32]:
        """The scene at pixels, by their flat indices, sorted."""

    @cached_property
    @abstractmethod
    def sampled(self) -> NDArray[np.float32]:
        """Anomalies (days, pixels) at the pixels of ``sample``."""

    @cached_property
    def sample(self) -> NDArray[np.int64]:
        """Sorted flat indices of the pixels that stand for all of the scene."""
        return sample_of(self.shape)

    @cached_property
    def visible(self) -> NDArray[np.int64]:
        """Sorted flat indices of visible pixels; of a scene larger than LOOKED_AT, among so many drawn at random."""
        looked = sample_of(self.shape, most=LOOKED_AT)
        return looked[~np.isnan(self.at(looked))]

    def tiles(self) -> Iterator[Window]:
        """Windows that cover the scene, row by row; the more days, the smaller."""
        return tiles_of((slice(0, self.shape[0]), slice(0, self.shape[1])), self.days)

    def grown(self, where: Window, reach: int) -> tuple[Window, Window]:
        """A window grown by some pixels on all sides, as far as there is scene; and where in it the former lies."""
        return grown_window(where, reach, self.shape)

    def gather(self, pixels: NDArray[np.int64], imputation: Imputation) -> "Gathered":
        """What is known of pixels all over the scene, by their flat indices, sorted; read tile by tile."""
        rows, columns = np.divmod(pixels, self.shape[1])
        numbers, values, layers, around = [], [], [], []
        for where in self.tiles():
            first, last = np.searchsorted(rows, [where[0].start, where[0].stop])
            inside = (columns[first:last] >= where[1].start) & (columns[first:last] < where[1].stop)
            here = first + np.flatnonzero(inside)
            if len(here):
                outer, _ = self.grown(where, REACH)
                tile = self.tile(outer)
                there = (rows[here] - outer[0].start) * tile.scene.shape[1] + columns[here] - outer[1].start
                numbers.append(here)
                values.append(tile.scene.flat[there])
                layers.append(layers_of(tile, imputation)[there])
                around.append(tile.around.pick(there))
        order = np.argsort(np.concatenate(numbers), kind="stable")
        joined = Layers.joined(layers)[order], Surroundings.joined(around).pick(order)
        return Gathered(pixels, np.concatenate(values)[order], *joined)


def layers_of(tile: Tile, imputation: Imputation) -> Layers:
    """Layers of all pixels of a tile."""
    return Layers.of(tile.around.background, tile.around.static, imputation, tile.around.places)


def tiles_of(where: Window, days: int) -> Iterator[Window]:
    """Windows of at most TILE pixels a side, and at most VALUES of all days, that cover a window row by row.

    Sides are powers of 2, so that windows of whole blocks of a file are cut as the whole scene is.
    """
    side = max(32, int((VALUES / max(days, 1)) ** 0.5))
    return windows_of(where, min(TILE, 1 << (side.bit_length() - 1)))


def windows_of(where: Window, side: int) -> Iterator[Window]:
    """Windows of at most ``side`` pixels a side that cover a window row by row."""
    for top in range(where[0].start, where[0].stop, side):
        for left in range(where[1].start, where[1].stop, side):
            yield slice(top, min(top + side, where[0].stop)), slice(left, min(left + side, where[1].stop))


@dataclass(frozen=True)
class Gathered:
    """Pixels here and there: flat indices, sorted; the scene; layers; and what predicts them, as one row."""

    pixels: NDArray[np.int64]
    scene: NDArray[np.float32]
    layers: Layers
    around: Surroundings

    def only(self, pixels: NDArray[np.int64]) -> "Gathered":
        """Some of them, by flat indices."""
        chosen = np.searchsorted(self.pixels, pixels)
        return Gathered(pixels, self.scene[chosen], self.layers[chosen], self.around.pick(chosen))


class Arrays(View):
    """A scene (height, width) in memory."""

    def __init__(self, scene: Image, background: Background, static: Static) -> None:
        self.scene: Image = scene
        self.shape, self.days = (scene.shape[0], scene.shape[1]), len(background.offsets)
        self.around = Surroundings.of(background, static)

    def tile(self, where: Window) -> Tile:
        return Tile(self.scene[where], self.around.window(where))

    def at(self, pixels: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.scene.flat[pixels]

    @cached_property
    def sampled(self) -> NDArray[np.float32]:
        anomalies = self.around.background.anomalies
        return anomalies.reshape(self.days, self.scene.size)[:, self.sample]


class Opened(View):
    """A scene and a history in files, opened and not read.

    Args:
        scene: to fill.
        history: all days but the scene's, their values :class:`OpenDays`.
        when: the day of the scene.
        static: layers that do not change.
        shown: what the scene shows at the pixels that stand for it, unless it is to be read; NaN in the gaps.

    Attributes:
        at_sample: what predicts these pixels, as one row.
    """

    def __init__(
        self,
        scene: OpenScene,
        history: Stack,
        when: date,
        static: StaticFiles,
        shown: NDArray[np.float32] | None = None,
    ) -> None:
        days: Any = history.values
        assert isinstance(days, OpenDays), "opened, not read"
        self.scene: OpenScene = scene
        self.static, self.history = static, days
        self.shape, self.days = scene.shape, len(days)
        self.offsets = Offsets.fit(days.sampled[:, None])
        at_sample = self.offsets.background(days.sampled[:, None])
        departure = (self.at(days.pixels) if shown is None else shown) - at_sample.level[0]
        days_apart = apart(history.dates, when)
        self.choice = Choice.fit(at_sample.anomalies[:, 0], departure, days_apart)
        self.at_sample = self.choice.of(weighed(at_sample, days_apart))
        keeps = self.shape[0] * self.shape[1] * self.at_sample.anomalies.shape[0] <= KEPT
        self._latest = lru_cache(maxsize=len(list(self.tiles())) if keeps else 1)(self._read)

    @cached_property
    def sample(self) -> NDArray[np.int64]:
        return self.history.pixels

    @cached_property
    def sampled(self) -> NDArray[np.float32]:
        return self.at_sample.anomalies[:, 0]

    def tile(self, where: Window) -> Tile:
        return self._latest(*((part.start, part.stop) for part in where))

    def _read(self, rows: tuple[int, int], columns: tuple[int, int]) -> Tile:
        where = slice(*rows), slice(*columns)
        background = replace(
            self.choice.of(self.offsets.background(self.history[:, *where])), weights=self.at_sample.weights
        )
        places = np.asarray(np.mgrid[where], np.float32)
        return Tile(self.scene[where], Surroundings(background, self.static.window(where), places))

    def at(self, pixels: NDArray[np.int64]) -> NDArray[np.float32]:
        found, width, rows = np.empty(len(pixels), np.float32), self.shape[1], max(1, 2_000_000 // self.shape[1])
        for top in range(0, self.shape[0], rows):
            first, last = np.searchsorted(pixels, np.array([top, top + rows]) * width)
            if first < last:
                band = self.scene[slice(top, top + rows), slice(None)]
                found[first:last] = band.flat[pixels[first:last] - top * width]
        return found
