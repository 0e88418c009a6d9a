"""Writing a filled scene: the input raster bit for bit, but for the pixels of its gaps."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader, DatasetWriter

from miha.errors import DataError, StorageError
from miha.files import replacing
from miha.rasters.stack import Image, Mask, ReadOptions

OBSERVED, FILLED = 0, 1  # values of the sidecar <name>_source.tif


def write_filled(source: Path, target: Path, values: Image, gaps: Mask, options: ReadOptions) -> None:
    """Write ``source`` with its gaps filled, and beside it ``<name>_source.tif`` (0 observed, 1 filled).

    Name, profile, CRS, tags and every observed pixel stay. In integer rasters scale and offset are undone, and a
    filled pixel never takes a nodata code.

    Args:
        source: the raster that was read.
        target: where to write, in another folder.
        values: (height, width) in the data's unit; read in the gaps only.
        gaps: (height, width), True where to fill.
        options: how ``source`` was read.

    Raises:
        DataError: ``target`` is ``source``, or ``source`` cannot be read any more.
        StorageError: the disk is full or refuses.
    """
    if target.resolve() == source.resolve():
        raise DataError(f"{target} would overwrite its input. Choose another --out.")
    sidecar = target.with_name(f"{target.stem}_source.tif")
    with replacing(sidecar) as temporary_sidecar, replacing(target) as temporary:
        try:
            with rasterio.open(source) as raster:
                with rasterio.open(temporary, "w", **raster.profile) as output:
                    _copy_description(raster, output)
                    for _, window in raster.block_windows(1):
                        block = raster.read(window=window)
                        hole = gaps[window.toslices()]
                        band = block[options.band - 1]
                        band[hole] = encode(values[window.toslices()][hole], raster, options)
                        output.write(block, window=window)
                mask_profile = {
                    "driver": "GTiff",
                    "dtype": "uint8",
                    "count": 1,
                    "height": raster.height,
                    "width": raster.width,
                    "crs": raster.crs,
                    "transform": raster.transform,
                    "compress": "deflate",
                }
            with rasterio.open(temporary_sidecar, "w", **mask_profile) as output:
                output.write(np.where(gaps, FILLED, OBSERVED).astype(np.uint8), 1)
            _read_back(temporary)
        except RasterioError as error:
            raise StorageError(f"cannot write {target}: {error}. Free space or choose another folder.") from error


def encode(values: Image, raster: DatasetReader, options: ReadOptions) -> NDArray[Any]:
    """Values in the data's unit → numbers as the raster stores them, never a nodata code.

    Raises:
        DataError: an integer raster's type cannot hold them.
    """
    band = options.band - 1
    dtype = np.dtype(raster.dtypes[band])
    stored = (values.astype(np.float64) - raster.offsets[band]) / raster.scales[band]
    codes = {code for code in (raster.nodatavals[band], options.nodata) if code is not None}
    if np.issubdtype(dtype, np.floating):
        numbers: NDArray[Any] = stored.astype(dtype)
        for code in codes:
            numbers[numbers == code] = np.nextafter(dtype.type(code), dtype.type(np.inf))
        return numbers
    limits = np.iinfo(dtype)
    numbers = np.clip(np.rint(stored), limits.min, limits.max)
    for code in codes:
        # The neighbour on the side of the exact value, unless the type ends there.
        step = np.where((stored < code) & (code > limits.min) | (code == limits.max), -1, 1)
        numbers = np.where(numbers == code, numbers + step, numbers)
    return np.asarray(numbers, dtype)


def _copy_description(raster: DatasetReader, output: DatasetWriter) -> None:
    """Tags of the file and its bands, band names, units, scales and offsets: what a profile does not hold."""
    for namespace in (None, *raster.tag_namespaces()):
        if namespace not in ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS"):
            output.update_tags(ns=namespace, **raster.tags(ns=namespace))
    for band in raster.indexes:
        output.update_tags(band, **raster.tags(band))
    output.descriptions, output.units = raster.descriptions, tuple(unit or "" for unit in raster.units)
    output.scales, output.offsets = raster.scales, raster.offsets
    output.colorinterp = raster.colorinterp


def _read_back(path: Path) -> None:
    """GDAL may note a full disk only when the last blocks are flushed; reading finds what is missing."""
    with rasterio.open(path) as raster:
        for _, window in raster.block_windows(1):
            raster.read(window=window)
