"""Scenes: reading rasters as values with gaps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from miha.errors import DataError
from miha.rasters.grid import Grid, grid_of
from miha.rasters.masks import grown
from miha.rasters.options import ReadOptions
from miha.rasters.suspect import Level, undeclared_codes
from miha.wording import plural

Image = NDArray[np.float32]  # (height, width), in the data's unit; NaN where there is no observation
Mask = NDArray[np.bool_]  # (height, width)

GEOTIFF = {".tif", ".tiff"}
SUFFIXES = {*GEOTIFF, ".jp2", ".vrt", ".nc"}  # of scenes in a folder; any other format goes through `miha prepare`
BAND = 2_000_000  # pixels of a band of rows that is read or written at once
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


@contextmanager
def open_raster(path: Path) -> Iterator[DatasetReader]:
    """Open a file of one of SUFFIXES; of NetCDF the one raster that it holds.

    Raises:
        DataError: a file of several rasters.
        RasterioError: GDAL cannot open it.
    """
    if path.suffix.lower() in GEOTIFF:
        with rasterio.open(path, driver="GTiff") as raster:
            yield raster
        return
    with rasterio.open(path) as file:
        inner = file.subdatasets
        if not inner:
            yield file
        elif len(inner) == 1:
            with rasterio.open(inner[0]) as raster:
                yield raster
        else:
            names = ", ".join(name.rpartition(":")[2] for name in inner)
            raise DataError(f"{path} holds several rasters ({names}). Choose one by a product (`miha prepare --help`).")


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
        alone = not (options.clear or options.grow or _is_masked(source, options))  # each pixel tells of itself
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


@contextmanager
def opened(path: Path, options: ReadOptions) -> Iterator[DatasetReader]:
    """Open a raster to read windows of it.

    Raises:
        DataError: it cannot be read, now or in the block; no such band, one of complex numbers, or of scale 0.
    """
    try:
        with open_raster(path) as source:
            if not 1 <= options.band <= source.count:
                raise DataError(
                    f"{path} has {plural(source.count, 'band')}, so there is no band {options.band}. Set problem.band."
                )
            if "complex" in source.dtypes[options.band - 1]:
                raise DataError(f"{path} holds complex numbers. Write what is to be filled, e.g. their amplitude.")
            if not source.scales[options.band - 1]:
                raise DataError(f"{path} has scale 0, so all its values are equal. Repair it (gdal_edit.py -scale).")
            yield source
    except (RasterioError, OSError) as error:
        raise _unreadable(path, error) from error


def bands_of(source: DatasetReader) -> list[tuple[slice, slice]]:
    """Windows as wide as a raster, of whole blocks, one below the other: what is read or written at once."""
    block = source.block_shapes[0][0]
    rows = block * max(1, BAND // (block * source.width))
    return [
        (slice(top, min(top + rows, source.height)), slice(0, source.width)) for top in range(0, source.height, rows)
    ]


def grown_window(
    where: tuple[slice, slice], reach: int, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """A window grown by some pixels on all sides, as far as there is raster; and where in it the former lies."""
    outer = [
        slice(max(part.start - reach, 0), min(part.stop + reach, size)) for part, size in zip(where, shape, strict=True)
    ]
    inner = [
        slice(part.start - around.start, part.stop - around.start) for part, around in zip(where, outer, strict=True)
    ]
    return (outer[0], outer[1]), (inner[0], inner[1])


def read_window(
    path: Path, source: DatasetReader, options: ReadOptions, where: tuple[slice, slice]
) -> tuple[Image, Mask]:
    """Values (rows, columns) of a window, NaN in the gaps; and where codes stay as they are.

    Raises:
        DataError: no such quality layer.
    """
    outer, inner = grown_window(where, options.grow, source.shape)
    window = Window.from_slices(*outer)
    raw = source.read(options.band, window=window)
    mask = source.read_masks(options.band, window=window) if _is_masked(source, options) else None
    values, kept = decode(raw, mask, source, options), np.isin(raw, options.keep)
    if options.clear:
        values[~kept & ~_clear(path, source, options, window)] = np.nan
    if options.grow:
        values[~kept & grown(np.isnan(values) & ~kept, options.grow)] = np.nan
    return values[inner], kept[inner]


def _is_masked(source: DatasetReader, options: ReadOptions) -> bool:
    return bool({MaskFlags.per_dataset, MaskFlags.alpha} & set(source.mask_flag_enums[options.band - 1]))


def _described(path: Path, source: DatasetReader, options: ReadOptions, values: Image, kept: Mask) -> Scene:
    band = options.band - 1
    return Scene(
        path,
        values,
        kept,
        grid_of(source),
        unit=source.units[band] or source.tags().get("units", ""),
        integer=np.issubdtype(np.dtype(source.dtypes[band]), np.integer),
        scale=source.scales[band],
        offset=source.offsets[band],
        simulated=SIMULATED_TAG in source.tags(),
        sharing=sharing_bands(source, options),
    )


def sharing_bands(source: DatasetReader, options: ReadOptions) -> tuple[int, ...]:
    """Bands that one mask or alpha band hides together with that of the options."""
    bands = [number for number, kind in enumerate(source.colorinterp, 1) if kind != ColorInterp.alpha]
    return tuple(band for band in bands if _is_masked(source, options) and band != options.band)


def _clear(path: Path, source: DatasetReader, options: ReadOptions, window: Window) -> Mask:
    """Where the quality layer of a scene says that a pixel of a window is clear."""
    rule = options.clear
    assert rule is not None
    file = rule.file_of(path, options.date_pattern)
    if file is None:
        raise DataError(f"{path} has no quality file {rule.file} (problem.clear.file). Add it, or remove the scene.")
    with open_raster(file) as layer:
        if not 1 <= rule.band <= layer.count:
            raise DataError(
                f"{file} has {plural(layer.count, 'band')}, so there is no band {rule.band}. Set problem.clear.band."
            )
        if difference := grid_of(source).difference(replace(grid_of(layer), bands=source.count)):
            raise DataError(f"{file} does not fit {path.name}: {difference}. Bring all rasters to one grid (gdalwarp).")
        return rule.clear(layer.read(rule.band, window=window))


def read_grid(path: Path) -> Grid:
    """Where the pixels of a raster lie; none of them is read.

    Raises:
        DataError: GDAL cannot open it.
    """
    try:
        with open_raster(path) as source:
            return grid_of(source)
    except (RasterioError, OSError) as error:
        raise _unreadable(path, error) from error


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


def _unreadable(path: Path, error: BaseException) -> DataError:
    if path.is_dir():
        return DataError(f"{path} is a folder. Name its scenes.")
    if path.is_symlink() and not path.exists():
        return DataError(f"{path} is a link that leads to no file. Mend or remove it.")
    if "No such file" in (reason := first_line(error)):
        return DataError(f"{path} does not exist. Check the name.")
    return DataError(f"{path} cannot be read as a raster: {reason}. Replace or remove the file.")


def decode(raw: NDArray[Any], mask: NDArray[np.uint8] | None, source: DatasetReader, options: ReadOptions) -> Image:
    """Stored numbers of one block → values in the data's unit, NaN where nodata or (if there is a mask) masked."""
    band = options.band - 1
    missing = ~np.isfinite(raw) if np.issubdtype(raw.dtype, np.floating) else np.zeros(raw.shape, bool)
    for code in (source.nodatavals[band], *options.nodata, *options.keep):
        if code is not None:
            missing |= raw == code
    if mask is not None:
        missing |= mask == 0
    values = raw.astype(np.float64) * source.scales[band] + source.offsets[band]
    return np.where(missing, np.nan, values).astype(np.float32)


def first_line(error: BaseException) -> str:
    """What an error of GDAL says first, without a full stop."""
    cause = error.__cause__ or error
    return str(cause).strip().splitlines()[0].rstrip(".") if str(cause).strip() else type(cause).__name__
