"""Rasters that are opened and not read: windows of scenes too large, or too many, for memory."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from miha.errors import DataError
from miha.rasters.options import ReadOptions
from miha.rasters.window import Image, Mask, open_raster, opened, read_window, sharing_bands

SAMPLE = 40_000  # pixels at most that stand for a scene
SAMPLED = 20_000_000  # values at most of a stack that stand for it
CACHE = 512_000_000  # bytes of blocks that GDAL keeps, so that windows side by side do not decode one twice


def sample_of(shape: tuple[int, int], days: int = 1, most: int = SAMPLE) -> NDArray[np.int64]:
    """Sorted flat indices of the pixels that stand for scenes of a shape: all, or so many drawn at random."""
    size, number = shape[0] * shape[1], min(most, max(SAMPLED // days, 1000))
    if size <= number:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).choice(size, number, replace=False, shuffle=False))


class OpenScene:
    """One band of a raster, of which windows are read: ``scene[rows, columns]`` is (height, width), NaN in the gaps.

    Attributes:
        decoded: a file that holds all its values (:mod:`miha.rasters.decoded`), if there is one.
    """

    def __init__(self, path: Path, options: ReadOptions, shape: tuple[int, int]) -> None:
        self.path, self.options, self.shape = path, options, shape
        self.decoded: Path | None = None

    @property
    def sharing(self) -> tuple[int, ...]:
        """Other bands that the same mask hides."""
        with opened(self.path, self.options) as source:
            return sharing_bands(source, self.options)

    def __getitem__(self, where: tuple[slice, slice]) -> Image:
        if self.decoded is None:
            return self.read(where)[0]
        with open(self.decoded, "rb") as file:  # closed again, so that what was read does not count as memory in use
            return np.array(np.memmap(file, np.float32, "r", shape=self.shape)[where])

    def read(self, where: tuple[slice, slice]) -> tuple[Image, Mask]:
        """Values of a window, and where codes stay as they are.

        Raises:
            DataError: it cannot be read.
        """
        rows, columns = (slice(*part.indices(size)) for part, size in zip(where, self.shape, strict=True))
        try:
            stat = self.path.stat()
            with rasterio.Env(GDAL_CACHEMAX=CACHE):
                source = _dataset(self.path, stat.st_mtime_ns, stat.st_size)
                return read_window(self.path, source, self.options, (rows, columns))
        except (RasterioError, OSError) as error:
            raise DataError(f"{self.path} cannot be read: {error}. Replace or remove the file.") from error


@lru_cache(maxsize=128)
def _dataset(path: Path, changed: int, size: int) -> DatasetReader:
    """Kept open, with the blocks that GDAL caches of it."""
    return open_raster(path)


class OpenDays:
    """Days of one grid, read when they are indexed, like an array (days, height, width) of float32.

    Attributes:
        scenes: the days.
        pixels: flat indices of the pixels that stand for all, sorted.
        sampled: (days, pixels), their values.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, scenes: Sequence[OpenScene], pixels: NDArray[np.int64], sampled: NDArray[np.float32]) -> None:
        self.scenes, self.pixels, self.sampled = tuple(scenes), pixels, sampled
        self.shape = (len(self.scenes), *self.scenes[0].shape) if scenes else (0, 0, 0)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: Any) -> Any:
        """A day by number; several by a list of them or a slice, opened; or a window of all: ``[:, rows, columns]``."""
        if isinstance(key, tuple):
            days, rows, columns = key
            chosen = self[days].scenes
            first = chosen[0][rows, columns]
            values = np.empty((len(chosen), *first.shape), np.float32)
            for number, scene in enumerate(chosen):
                values[number] = scene[rows, columns] if number else first
            return values
        if isinstance(key, (int, np.integer)):
            return self.scenes[key][:, :]
        chosen = range(len(self))[key] if isinstance(key, slice) else [int(day) for day in key]
        return OpenDays([self.scenes[day] for day in chosen], self.pixels, self.sampled[list(chosen)])

    @staticmethod
    def stand_in(values: Any) -> NDArray[np.float32]:
        """What stands for days: arrays (days, height, width) for themselves, of opened ones (days, 1, pixels)."""
        return values.sampled[:, None] if isinstance(values, OpenDays) else np.asarray(values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it: what needs every pixel at once reads every pixel."""
        return np.stack([scene[:, :] for scene in self.scenes]).astype(dtype or self.dtype)
