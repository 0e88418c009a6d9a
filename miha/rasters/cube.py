"""A stack of scenes as an xarray Dataset (extra ``xarray``)."""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miha.errors import DataError
from miha.rasters.dates import read_date
from miha.rasters.grid import Grid
from miha.rasters.options import ReadOptions
from miha.rasters.scene import list_rasters, read_scene
from miha.rasters.stack import read_stack
from miha.rasters.window import read_grid
from miha.rasters.writing import EMPTY, OBSERVED, sidecars_of

if TYPE_CHECKING:
    import xarray

DIMENSIONS = ("time", "y", "x")


def open_stack(data: Path | str, reading: ReadOptions = ReadOptions()) -> "xarray.Dataset":
    """The days of a data set, or of a folder of filled scenes, in memory.

    Args:
        data: folder of a data set, whose ``history/`` is read; of filled scenes; or of GeoTIFFs.
        reading: how pixels become values.

    Returns:
        Variables (time, y, x), float32, NaN where there is none: ``observed``, and of filled scenes ``filled``, ``std``
        (both in the unit of the data) and ``source`` (0 observed, 1 filled, 2 left as it was). Coordinates are those of
        pixel centres, where rows and columns run along the axes of the CRS. ``attrs`` hold CRS and transform.

    Raises:
        DataError: the folder cannot be used.
        ModuleNotFoundError: xarray is not installed.
    """
    folder = Path(data)
    if (folder / "history").is_dir():
        folder = folder / "history"
    filled = filled_scenes(folder, reading)
    return _filled(filled, reading) if filled else _observed(folder, reading)


def filled_scenes(folder: Path, reading: ReadOptions) -> list[tuple[date, Path]]:
    """The scenes in a folder that have their two maps beside them, and their days, sorted; there may be none.

    Raises:
        DataError: no such folder, a name without a date, or two scenes of one day.
    """
    rasters = list_rasters(folder, 0)
    filled = [path for path in rasters if {*sidecars_of(path)} <= {*rasters}]
    dated = sorted((read_date(path, reading.date_pattern), path) for path in filled)
    for (when, path), (after, other) in pairwise(dated):
        if when == after:
            raise DataError(f"{path} and {other} are both of {when}. Keep one scene a day.")
    return dated


def common_grid(paths: Sequence[Path]) -> Grid:
    """The one grid of scenes, of which no pixel is read.

    Raises:
        DataError: one that lies on another.
    """
    first, *others = paths
    grid = read_grid(first)
    for path in others:
        if difference := grid.difference(read_grid(path)):
            raise DataError(f"{path} does not fit {first.name}: {difference}. Keep them in folders of their own.")
    return grid


def _observed(folder: Path, reading: ReadOptions) -> "xarray.Dataset":
    stack = read_stack(folder, reading)
    return _dataset({"observed": stack.values}, list(stack.dates), stack.grid, stack.unit)


def _filled(dated: list[tuple[date, Path]], reading: ReadOptions) -> "xarray.Dataset":
    grid = common_grid([path for _, path in dated])
    scenes = [read_scene(path, reading.plain) for _, path in dated]
    maps = [[read_scene(file).values for file in sidecars_of(scene.path)] for scene in scenes]
    source, std = (np.stack(kind) for kind in zip(*maps, strict=True))
    values = np.stack([scene.values for scene in scenes])
    values[source == EMPTY] = np.nan  # what a quality layer hides is in the raster still
    observed = np.where(source == OBSERVED, values, np.float32(np.nan))
    variables = {"observed": observed, "filled": values, "std": std, "source": source}
    return _dataset(variables, [when for when, _ in dated], grid, scenes[0].unit)


def _dataset(variables: dict[str, Any], dates: list[Any], grid: Grid, unit: str) -> "xarray.Dataset":
    import xarray

    found = xarray.Dataset(
        {name: (DIMENSIONS, values) for name, values in variables.items()},
        coordinates_of(grid, dates),
        {"crs": grid.crs, "transform": grid.transform},
    )
    for name in {*variables} - {"source"}:
        found[name].attrs["units"] = unit
    return found


def coordinates_of(grid: Grid, dates: Sequence[date]) -> dict[str, NDArray[Any]]:
    """Days, and centres of pixels where rows and columns run along the axes of the CRS."""
    coordinates: dict[str, NDArray[Any]] = {"time": np.array(dates, "datetime64[ns]")}
    width, turned_x, left, turned_y, height, top = grid.transform
    if not (turned_x or turned_y):
        coordinates["x"] = left + width * (np.arange(grid.width) + 0.5)
        coordinates["y"] = top + height * (np.arange(grid.height) + 0.5)
    return coordinates
