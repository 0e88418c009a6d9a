"""An area of which alone the pixels are filled: a raster or polygons, laid over the grid of scenes."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.transform import array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from miha.errors import DataError
from miha.rasters.grid import Grid
from miha.rasters.polygons import brought_to, read_polygons
from miha.rasters.window import BAND, Mask, first_line

GEOJSON = {".geojson", ".json"}
Inside = Callable[[tuple[slice, slice]], Mask]  # rows and columns of a window → True inside of the area


def open_area(path: Path, grid: Grid) -> Inside:
    """Where in windows of a grid an area lies. Pixels count by their centres.

    Args:
        path: a raster, whose pixels other than 0 and nodata (of its first band) are inside, on any grid and in any CRS;
            or a GeoJSON file of polygons.
        grid: of the scenes.

    Raises:
        DataError: it cannot be read, has no CRS (or the scenes have none), or covers no pixel of the grid.
    """
    try:
        return _opened(path, path.stat().st_mtime_ns, grid)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Check the name (--area).") from None


@lru_cache(maxsize=4)
def _opened(path: Path, changed: int, grid: Grid) -> Inside:
    inside = _polygons(path, grid) if path.suffix.lower() in GEOJSON else _raster(path, grid)
    if not any(inside(where).any() for where in _windows(grid)):
        raise DataError(f"{path} covers no pixel of the scenes, so none would be filled. Choose another --area.")
    return inside


def _polygons(path: Path, grid: Grid) -> Inside:
    crs, polygons = read_polygons(path)
    if not grid.crs:
        raise _placeless(path)
    to, place = CRS.from_user_input(grid.crs), Affine(*grid.transform)
    try:
        shapes = brought_to(polygons, crs, to, array_bounds(grid.height, grid.width, place))
    except (RasterioError, CPLE_BaseError) as error:
        raise DataError(f"{path} cannot be brought to the scenes' CRS, {grid.crs}: {first_line(error)}.") from error

    def inside(where: tuple[slice, slice]) -> Mask:
        rows, columns = where
        shape = rows.stop - rows.start, columns.stop - columns.start
        if not shapes:
            return np.zeros(shape, bool)
        corner = window_transform(Window.from_slices(*where), place)
        return np.asarray(rasterize(shapes, shape, transform=corner, dtype="uint8"), bool)

    return inside


def _raster(path: Path, grid: Grid) -> Inside:
    try:
        with rasterio.open(path) as raster:
            crs = raster.crs
            own = Grid(raster.height, raster.width, "", tuple(raster.transform)[:6], grid.bands)
    except RasterioError as error:
        raise DataError(
            f"{path} cannot be read as an area: {first_line(error)}. It must be a raster, or GeoJSON of polygons, to "
            "which other vectors are brought by `ogr2ogr -f GeoJSON`."
        ) from error
    if grid.crs and not crs:
        raise DataError(f"{path} has no CRS, so it cannot be laid over the scenes. Give it one (gdal_edit.py -a_srs).")
    if crs and not grid.crs:
        raise _placeless(path)
    if not crs and (difference := Grid(grid.height, grid.width, "", grid.transform, grid.bands).difference(own)):
        raise DataError(f"{path} does not fit the scenes, and has no CRS to lay it over them: {difference}.")

    def inside(where: tuple[slice, slice]) -> Mask:
        window = Window.from_slices(*where)
        try:
            with rasterio.open(path) as raster:
                if not crs:
                    return _nonzero(raster.read(1, window=window, masked=True))
                there = {"crs": grid.crs, "transform": Affine(*grid.transform), "width": grid.width}
                with WarpedVRT(raster, **there, height=grid.height, resampling=Resampling.nearest) as warped:
                    return _nonzero(warped.read(1, window=window, masked=True))
        except RasterioError as error:
            raise DataError(f"{path} cannot be read as an area: {first_line(error)}.") from error

    return inside


def box_of(where: tuple[slice, slice], inside: Mask) -> tuple[slice, slice]:
    """The smallest window that holds what of a window lies inside.

    Args:
        where: rows and columns of the window.
        inside: (rows, columns) of it, True somewhere.
    """
    found = (part.start + np.flatnonzero(inside.any(axis=axis)) for part, axis in zip(where, (1, 0), strict=True))
    rows, columns = (slice(int(places[0]), int(places[-1]) + 1) for places in found)
    return rows, columns


def _placeless(path: Path) -> DataError:
    return DataError(f"the scenes have no CRS, so {path} cannot be laid over them. Give them one (gdal_edit.py).")


def _nonzero(values: "np.ma.MaskedArray") -> Mask:
    numbers = values.filled(0)
    return np.asarray(np.isfinite(numbers) & (numbers != 0))


def _windows(grid: Grid) -> Iterator[tuple[slice, slice]]:
    """Bands of rows that cover a grid."""
    rows = max(1, BAND // grid.width)
    for top in range(0, grid.height, rows):
        yield slice(top, min(top + rows, grid.height)), slice(0, grid.width)
