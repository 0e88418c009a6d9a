"""The one grid of a stack, and scenes of any other brought to it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import array_bounds, from_origin
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform, reproject, transform_bounds
from rasterio.windows import Window

from miha.errors import ConfigError, DataError, StorageError
from miha.products.layers import SAME, pixels_apart
from miha.products.reading import LONGITUDE_LATITUDE, OpenScene, read_geolocation
from miha.rasters.window import Image

ROWS = 512  # of a window
MAX_PIXELS = 4e9  # of a scene: more are a mistyped resolution
Bounds = tuple[float, float, float, float]  # west, south, east, north, in the grid's CRS
Reader = Callable[[Window], Image]


@dataclass(frozen=True)
class StackGrid:
    """Where the pixels of a stack lie."""

    crs: CRS | None
    transform: Affine
    height: int
    width: int

    @classmethod
    def of(cls, raster: DatasetReader) -> "StackGrid":
        """The grid of a raster."""
        return cls(raster.crs, raster.transform, raster.height, raster.width)

    def windows(self) -> Iterator[Window]:
        """Windows of whole rows, that cover it."""
        for row in range(0, self.height, ROWS):
            yield Window(0, row, self.width, min(ROWS, self.height - row))

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north."""
        return tuple(array_bounds(self.height, self.width, self.transform))

    def shift(self, raster: DatasetReader) -> tuple[int, int] | None:
        """Rows and columns by which a raster's pixels lie off this grid's, or None if they do not lie on them."""
        if (raster.crs or raster.shape != (self.height, self.width)) and raster.crs != self.crs:
            return None
        apart = pixels_apart(self.transform, raster.transform, raster.width, raster.height)
        columns, rows = np.rint(apart[0])
        return (int(rows), int(columns)) if np.abs(apart - (columns, rows)).max() < SAME else None


@dataclass(frozen=True)
class GridChoice:
    """The grid that a user asked for; what is not given is that of the first scene.

    Attributes:
        like: a raster to take the whole grid of.
        crs: as in EPSG:32630.
        resolution: side of a pixel, in units of the CRS.
        bounds: west, south, east, north in the CRS.
    """

    like: Path | None = None
    crs: str | None = None
    resolution: float | None = None
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        if self.like and (self.crs or self.resolution or self.bounds):
            raise ConfigError("--like takes the whole grid of a raster: leave out --crs, --resolution and --bounds.")
        if self.bounds and not (self.bounds[0] < self.bounds[2] and self.bounds[1] < self.bounds[3]):
            raise ConfigError(f"--bounds {self.bounds}: give west, south, east, north in units of the CRS.")

    @property
    def given(self) -> bool:
        """True if the user asked for anything."""
        return bool(self.like or self.crs or self.resolution or self.bounds)

    @property
    def complete(self) -> bool:
        """True if no scene needs to be looked at."""
        return bool(self.like or (self.crs and self.resolution and self.bounds))

    def grid(self, first: StackGrid | None) -> StackGrid:
        """The grid of the stack.

        Args:
            first: that of the first scene; None: it has none, being a swath.

        Raises:
            ConfigError: an unknown CRS, a grid too large, or one that only the first scene could complete.
            DataError: the raster to be like cannot be read.
        """
        if self.like:
            try:
                with rasterio.open(self.like) as raster:
                    return StackGrid.of(raster)
            except RasterioError as error:
                raise DataError(f"--like {self.like} cannot be read as a raster: {error}.") from error
        if not self.given and first:
            return first
        if first is None or (first.crs is None and not self.complete):
            if not self.complete:
                raise ConfigError("the scenes lie on no grid: give --like RASTER, or --crs, --resolution and --bounds.")
            first = StackGrid(None, Affine.identity(), 1, 1)
        grid = self._around(first)
        if not 0 < grid.height * grid.width <= MAX_PIXELS:
            raise ConfigError(
                f"the grid would have {grid.height}x{grid.width} pixels. --resolution is in units of the CRS."
            )
        return grid

    def _around(self, first: StackGrid) -> StackGrid:
        try:
            crs = CRS.from_user_input(self.crs) if self.crs else first.crs
        except CRSError as error:
            raise ConfigError(f"--crs {self.crs} is unknown ({error}). Give one such as EPSG:32630.") from error
        bounds = self.bounds or (first.bounds if crs == first.crs else transform_bounds(first.crs, crs, *first.bounds))
        if self.resolution:
            across = down = self.resolution
        elif crs == first.crs:
            across, down = first.transform.a, -first.transform.e
        else:
            default, _, _ = calculate_default_transform(first.crs, crs, first.width, first.height, *first.bounds)
            across, down = default.a, -default.e
        west, south, east, north = bounds
        if not self.resolution and crs == first.crs:  # whole pixels of the first scene, so that none is computed anew
            west = first.transform.c + math.floor((west - first.transform.c) / across + 1e-6) * across
            north = first.transform.f - math.floor((first.transform.f - north) / down + 1e-6) * down
        width, height = (math.ceil(size - 1e-6) for size in ((east - west) / across, (north - south) / down))
        return StackGrid(crs, from_origin(west, north, across, down), height, width)


@contextmanager
def on_grid(scene: OpenScene, grid: StackGrid, folder: Path) -> Iterator[Reader]:
    """Yield what reads windows of ``grid`` from a scene: as they are, shifted by whole pixels, or warped.

    Masks are applied on the scene's own grid, so that no value of a cloud is mixed into a clear pixel.

    Args:
        scene: on any grid, or a swath.
        grid: of the stack.
        folder: for a copy of a scene that is warped, as large as the scene in float32.

    Raises:
        DataError: it does not say where it lies.
        RasterioError: it cannot be read.
        StorageError: there is no room for the copy.
    """
    raster = scene.raster
    if scene.recipe.geolocation:
        values = _resampled_swath(scene, grid)
        yield lambda window: values[window.toslices()]
    elif (shift := grid.shift(raster)) is not None:
        yield lambda window: _read_shifted(scene, window, *shift)
    elif not (raster.crs and grid.crs):
        raise DataError(f"{scene.observation.path} has no CRS, so it cannot be brought to the grid (gdal_edit.py).")
    else:
        copy = folder / "scene.tif"
        _copy(scene, copy)
        options = {"crs": grid.crs, "transform": grid.transform, "width": grid.width, "height": grid.height}
        options |= {"resampling": Resampling[scene.recipe.resampling], "nodata": np.nan}
        with rasterio.open(copy) as masked, WarpedVRT(masked, **options) as warped:
            yield lambda window: warped.read(1, window=window)
        copy.unlink()


def _read_shifted(scene: OpenScene, window: Window, rows: int, columns: int) -> Image:
    """A window of a grid off which the scene lies by whole pixels; NaN outside the scene."""
    values = np.full((window.height, window.width), np.nan, np.float32)
    top, left = window.row_off - rows, window.col_off - columns
    first, last = max(top, 0), min(top + window.height, scene.raster.height)
    begin, end = max(left, 0), min(left + window.width, scene.raster.width)
    if first < last and begin < end:
        inner = scene.read(Window(begin, first, end - begin, last - first))
        values[first - top : last - top, begin - left : end - left] = inner
    return values


def _copy(scene: OpenScene, path: Path) -> None:
    """Write a scene, masked, as GDAL can warp it."""
    own = StackGrid.of(scene.raster)
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 1,
        "nodata": np.nan,
        "tiled": True,
        "bigtiff": "if_safer",
    }
    place = {"crs": own.crs, "transform": own.transform, "height": own.height, "width": own.width}
    with rasterio.open(path, "w", **profile, **place) as output:
        for window in own.windows():
            values = scene.read(window)
            try:
                output.write(values, 1, window=window)
            except RasterioError as error:
                raise StorageError(f"cannot write {path}: {error}. Free space or choose another folder.") from error


def _resampled_swath(scene: OpenScene, grid: StackGrid) -> Image:
    """A swath, all of it at once."""
    whole = Window(0, 0, scene.raster.width, scene.raster.height)
    values = np.full((grid.height, grid.width), np.nan, np.float32)
    reproject(
        scene.read(whole),
        values,
        src_geoloc_array=read_geolocation(scene.observation, scene.raster.shape),
        src_crs=LONGITUDE_LATITUDE,
        src_nodata=np.nan,
        dst_transform=grid.transform,
        dst_crs=grid.crs,
        dst_nodata=np.nan,
        resampling=Resampling[scene.recipe.resampling],
    )
    return values


def overlap(scene: OpenScene, grid: StackGrid) -> bool:
    """False if a scene lies beside the grid, as far as one can tell from their bounds."""
    raster = scene.raster
    if scene.recipe.geolocation or not (raster.crs and grid.crs):
        return True
    here = transform_bounds(raster.crs, grid.crs, *raster.bounds)
    there = transform_bounds(grid.crs, raster.crs, *grid.bounds)  # of the globe in a zone, the former mean nothing
    return _meet(here, grid.bounds) or _meet(there, raster.bounds)


def _meet(one: Bounds, other: Bounds) -> bool:
    """True if bounds overlap; also where ``one`` cannot tell, across the date line or outside its projection."""
    west, south, east, north = one
    left, bottom, right, top = other
    return west > east or (west < right and east > left and south < top and north > bottom)
