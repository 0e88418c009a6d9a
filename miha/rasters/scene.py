"""Scenes: reading rasters as values with gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from miha.errors import DataError
from miha.rasters.grid import Grid, grid_of
from miha.rasters.options import ReadOptions
from miha.rasters.suspect import Level, undeclared_codes
from miha.rasters.window import (
    SUFFIXES,
    Image,
    Mask,
    bands_of,
    decode,
    is_masked,
    opened,
    read_grid,
    read_window,
    sharing_bands,
    unit_of,
)

SIMULATED_TAG = "MIHA_SIMULATED"  # TIFF tag of rasters that no satellite took
RANGE_TAG = "MIHA_VALID_RANGE"  # of a band: least and greatest value that its product allows, in the data's unit


@dataclass(frozen=True)
class Scene:
    """One raster: its values as float32 with NaN in the gaps, and where and when they were taken."""

    path: Path
    values: Image
    kept: Mask  # True where there is none and none is wanted: codes that stay as they are
    grid: Grid
    unit: str
    integer: bool  # stored as integers, so that few distinct values mean classes
    scale: float  # value = stored number x scale + offset
    offset: float
    simulated: bool
    sharing: tuple[int, ...]  # other bands, from 1, that the same mask or alpha band hides

    @property
    def gaps(self) -> Mask:
        """True where there is no observation."""
        return np.isnan(self.values)

    @cached_property
    def level(self) -> Level | None:
        """Where its values lie; None if it shows too little to tell."""
        return Level.of(self.values, (self.scale, self.offset) != (1, 0))

    def check_codes(self, options: ReadOptions) -> None:
        """Look for numbers that must mean something else than what was observed.

        Raises:
            DataError: one that nobody declared.
        """
        observed = np.float32(np.array(options.observed, np.float64) * self.scale + self.offset)
        values = self.values[~np.isin(self.values, observed)] if options.observed else self.values
        for value, count in undeclared_codes(values).items():
            stored = (value - self.offset) / self.scale
            code = round(stored) if self.integer else str(np.float32(stored)).removesuffix(".0")
            raise DataError(
                f"{self.path} holds {code} in {count / self.values.size:.1%} of its pixels, far from all other values. "
                f"If that means missing, set problem.nodata (--nodata {code}); if it is to stay as it is, problem.keep "
                "(--keep); if it was observed, problem.observed (--observed)."
            )


def list_rasters(folder: Path, at_least: int = 1) -> list[Path]:
    """The rasters directly in ``folder``, sorted by name.

    Raises:
        DataError: no such folder, or fewer than ``at_least`` rasters in it.
    """
    if not folder.is_dir():
        raise DataError(
            f"no such folder: {folder}. Put one raster for each day into it, the date in its name (20210501), or let "
            f"`miha prepare DOWNLOADS --product generic --out {folder.parent}` make it."
        )
    paths = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if len(paths) < at_least:
        raise DataError(f"{folder} holds no GeoTIFF (*.tif, *.tiff, or *.jp2, *.vrt, *.nc). Put the scenes there.")
    return paths


def list_scenes(folder: Path, options: ReadOptions) -> list[Path]:
    """The rasters directly in ``folder`` but for quality files, sorted by name.

    Raises:
        DataError: no such folder, or no raster in it.
    """
    layers = quality_files(paths := list_rasters(folder), options)
    return [path for path in paths if path not in layers]


def quality_files(paths: Sequence[Path], options: ReadOptions) -> set[Path]:
    """The files beside scenes that say which of their pixels are clear."""
    rule = options.clear
    if rule is None or rule.file is None:
        return set()
    return {file for path in paths if (file := rule.file_of(path, options.date_pattern))}


def read_scene(path: Path, options: ReadOptions = ReadOptions()) -> Scene:
    """Read one band as float32 in the data's unit: scale and offset applied, NaN for nodata.

    Raises:
        DataError: not a raster that GDAL can read to its end, no such band, or no such quality layer.
    """
    with opened(path, options) as source:
        values, kept = np.empty(source.shape, np.float32), np.empty(source.shape, bool)
        for where in bands_of(source):
            values[where], kept[where] = read_window(path, source, options, where)
        return _described(path, source, options, values, kept)


def sample_scene(path: Path, options: ReadOptions, pixels: NDArray[np.int64]) -> Scene:
    """A scene of which only some pixels are kept, by their flat indices (n,), as one row (1, n); all of it is read.

    Raises:
        DataError: as :func:`read_scene`.
    """
    with opened(path, options) as source:
        values, kept = np.empty((1, len(pixels)), np.float32), np.empty((1, len(pixels)), bool)
        alone = not (options.clear or options.grow or is_masked(source, options))  # each pixel tells of itself
        for where in bands_of(source):
            first, last = np.searchsorted(pixels, np.array([where[0].start, where[0].stop]) * source.width)
            inside = pixels[first:last] - where[0].start * source.width
            if alone:
                raw = source.read(options.band, window=Window.from_slices(*where)).flat[inside]
                values[0, first:last] = decode(raw, None, source, options)
                kept[0, first:last] = np.isin(raw, options.keep)
            else:
                band, held = read_window(path, source, options, where)
                values[0, first:last], kept[0, first:last] = band.flat[inside], held.flat[inside]
        return _described(path, source, options, values, kept)


def declared_range(path: Path, options: ReadOptions) -> tuple[float, float] | None:
    """The valid range that a scene prepared from a product says it has, in its unit.

    Raises:
        DataError: it cannot be read, or its tag holds no range.
    """
    with opened(path, options) as source:
        text = source.tags(options.band).get(RANGE_TAG)
    try:
        limits = tuple(map(float, text.split())) if text else None
        return ReadOptions(valid_range=limits).valid_range
    except ValueError:
        raise DataError(
            f"{path} has the tag {RANGE_TAG}={text!r}, which is no range such as '150 350'. Prepare the data again "
            "(`miha prepare`), or set problem.valid_range (--valid-range)."
        ) from None


def _described(path: Path, source: DatasetReader, options: ReadOptions, values: Image, kept: Mask) -> Scene:
    band = options.band - 1
    return Scene(
        path,
        values,
        kept,
        grid_of(source),
        unit=unit_of(source, options.band),
        integer=np.issubdtype(np.dtype(source.dtypes[band]), np.integer),
        scale=source.scales[band],
        offset=source.offsets[band],
        simulated=SIMULATED_TAG in source.tags(),
        sharing=sharing_bands(source, options),
    )


def first_grid(folder: Path) -> Grid:
    """Where the pixels of the first raster lie that can be opened, as in :func:`read_stack`.

    Raises:
        DataError: no raster that GDAL can open.
    """
    for path in list_rasters(folder):
        try:
            return read_grid(path)
        except DataError as error:
            last = error
    raise last
