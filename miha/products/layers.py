"""Opening one layer of a file of any format that GDAL reads."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from miha.errors import DataError
from miha.products.hdf4 import Hdf4File, needs_pyhdf
from miha.products.product import Band

SAME = 0.01  # pixels: grids that lie apart by less are one, since archives round their coordinates


@contextmanager
def open_layer(path: str, subdataset: str | None, band: Band) -> Iterator[tuple[DatasetReader, int]]:
    """Open a raster, or one of the rasters within a file; yields it with the number of the band.

    Args:
        path: the file, as GDAL names it.
        subdataset: end of the name of a raster within it, with * for anything; not needed if there is one alone.
        band: its number, from 1, or its name.

    Raises:
        DataError: no such subdataset or band, or an HDF4 file that neither GDAL nor pyhdf reads here or in an archive.
        RasterioError: GDAL cannot open it.
    """
    if needs_pyhdf(path):
        grids = Hdf4File(path)
        with grids.open(_chosen(path, {name: name for name in grids.names}, subdataset)) as raster:
            yield raster, _band(path, raster, band)
        return
    with _opened(path) as file:
        if file.subdatasets:
            named = {re.split("[:/]", name)[-1].strip('"'): name for name in file.subdatasets}
            with rasterio.open(_chosen(path, named, subdataset)) as raster:
                yield raster, _band(path, raster, band)
        else:
            yield file, _band(path, file, band)


@contextmanager
def _opened(path: str) -> Iterator[DatasetReader]:
    try:
        file = rasterio.open(path)
    except RasterioError as error:
        if path.startswith("/vsi") and path.lower().endswith(".hdf"):
            raise DataError(
                f"{path} cannot be read in an archive or from the web: {error} If it is an HDF4 file, unpack or "
                "download it, and give its folder."
            ) from error
        raise
    with file:
        yield file


def _chosen(path: str, named: Mapping[str, str], wanted: str | None) -> str:
    fitting = [name for short, name in named.items() if fnmatch(short.lower(), (wanted or "*").lower())]
    if len(fitting) != 1:
        problem = "several subdatasets" if fitting else f"no subdataset {wanted}"
        raise DataError(f"{path} has {problem}: {', '.join(named)}. Name one as subdataset of the product.")
    return fitting[0]


def _band(path: str, raster: DatasetReader, band: Band) -> int:
    if isinstance(band, int) and band <= raster.count:
        return band
    if band in raster.descriptions:
        return int(raster.descriptions.index(band)) + 1
    names = ", ".join(name for name in raster.descriptions if name)
    raise DataError(f"{path} has no band {band}, but {raster.count}{f' ({names})' if names else ''}. Set band.")


def fall_together(one: DatasetReader, other: DatasetReader) -> bool:
    """True if the pixels of two rasters lie on each other, to a hundredth of a pixel."""
    if one.shape != other.shape or (one.crs and other.crs and one.crs != other.crs):
        return False
    return bool(np.abs(pixels_apart(one.transform, other.transform, one.width, one.height)).max() < SAME)


def pixels_apart(one: Affine, other: Affine, width: int, height: int) -> NDArray[np.float64]:
    """How far pixels of two grids lie apart at three corners: (3, 2), columns and rows of ``one``."""
    corners = np.array([(0, 0, 1), (width, 0, 1), (0, height, 1)], float).T
    inner, outer = (np.array(tuple(transform)).reshape(3, 3) for transform in (one, other))
    places = np.linalg.solve(inner, outer @ corners)
    return np.asarray((places - corners)[:2].T)
