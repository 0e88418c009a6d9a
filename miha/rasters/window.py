"""Windows of rasters: opened, and read as values with gaps."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from miha.wording import plural

Image = NDArray[np.float32]  # (height, width), in the data's unit; NaN where there is no observation
Mask = NDArray[np.bool_]  # (height, width)

GEOTIFF = {".tif", ".tiff"}
SUFFIXES = {*GEOTIFF, ".jp2", ".vrt", ".nc"}  # of scenes in a folder; any other format goes through `miha prepare`
BAND = 2_000_000  # pixels of a band of rows that is read or written at once


def open_raster(path: Path) -> DatasetReader:
    """Open a file of one of SUFFIXES; of NetCDF the one raster that it holds.

    What lies beside it (``.aux.xml``, ``.ovr``, …) is looked for by name: to list the folder for each scene would cost
    the square of their number.

    Raises:
        DataError: a file of several rasters.
        RasterioError: GDAL cannot open it.
    """
    plain = path.suffix.lower() in GEOTIFF
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"):
        raster: DatasetReader = rasterio.open(path, driver="GTiff" if plain else None)
    if not plain and (inner := raster.subdatasets):
        raster.close()
        if len(inner) > 1:
            names = ", ".join(name.rpartition(":")[2] for name in inner)
            raise DataError(f"{path} holds several rasters ({names}). Choose one by a product (`miha prepare --help`).")
        raster = rasterio.open(inner[0])
    return raster


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


def unit_of(source: DatasetReader, band: int) -> str:
    """The unit of a band, as it says itself, or as the tags of its file do; "" where neither does."""
    return str(source.units[band - 1] or source.tags().get("units", ""))


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
    mask = source.read_masks(options.band, window=window) if is_masked(source, options) else None
    values, kept = decode(raw, mask, source, options), np.isin(raw, options.keep)
    if options.clear:
        values[~kept & ~_clear(path, source, options, window)] = np.nan
    if options.grow:
        values[~kept & grown(np.isnan(values) & ~kept, options.grow)] = np.nan
    return values[inner], kept[inner]


def decode(raw: NDArray[Any], mask: NDArray[np.uint8] | None, source: DatasetReader, options: ReadOptions) -> Image:
    """Stored numbers of one block → values in the data's unit, NaN where nodata or (if there is a mask) masked."""
    band = options.band - 1
    missing = ~np.isfinite(raw) if np.issubdtype(raw.dtype, np.floating) else np.zeros(raw.shape, bool)
    for code in (source.nodatavals[band], *options.nodata, *options.keep):
        if code is not None:
            missing |= raw == code
    if mask is not None:
        missing |= mask == 0
    values = raw.astype(np.float64)
    values *= source.scales[band]  # in place: new memory takes several times as long as what is computed in it
    values += source.offsets[band]
    values[missing] = np.nan
    return values.astype(np.float32)


def is_masked(source: DatasetReader, options: ReadOptions) -> bool:
    """True if a mask or an alpha band hides pixels of the band."""
    return bool({MaskFlags.per_dataset, MaskFlags.alpha} & set(source.mask_flag_enums[options.band - 1]))


def sharing_bands(source: DatasetReader, options: ReadOptions) -> tuple[int, ...]:
    """Bands that one mask or alpha band hides together with that of the options."""
    bands = [number for number, kind in enumerate(source.colorinterp, 1) if kind != ColorInterp.alpha]
    return tuple(band for band in bands if is_masked(source, options) and band != options.band)


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


def _unreadable(path: Path, error: BaseException) -> DataError:
    if path.is_dir():
        return DataError(f"{path} is a folder. Name its scenes.")
    if path.is_symlink() and not path.exists():
        return DataError(f"{path} is a link that leads to no file. Mend or remove it.")
    if "No such file" in (reason := first_line(error)):
        return DataError(f"{path} does not exist. Check the name.")
    return DataError(f"{path} cannot be read as a raster: {reason}. Replace or remove the file.")


def first_line(error: BaseException) -> str:
    """What an error of GDAL says first, without a full stop."""
    cause = error.__cause__ or error
    return str(cause).strip().splitlines()[0].rstrip(".") if str(cause).strip() else type(cause).__name__
