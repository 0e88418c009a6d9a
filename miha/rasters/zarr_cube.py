"""One Zarr cube of a folder of filled scenes (extra ``xarray``), after the CF conventions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray
import zarr

from miha.files import replacing_folder, stamp_files
from miha.rasters.cube import DIMENSIONS, common_grid, coordinates_of, filled_scenes
from miha.rasters.grid import Grid
from miha.rasters.opened import OpenScene
from miha.rasters.options import ReadOptions
from miha.rasters.window import Image, opened, unit_of
from miha.rasters.writing import EMPTY, sidecars_of

CUBE = "cube.zarr"
DAYS, SIDE = 16, 512  # of a chunk, 16 MB: read well along time as well as as a map
KINDS = {"value": np.float32, "std": np.float32, "source": np.uint8}
MAPPING, STAMP = "spatial_ref", "miha_files"


@dataclass(frozen=True)
class Block:
    """Days of a cube that share chunks: where they begin, and their files."""

    cube: Path
    first: int
    paths: Sequence[Path]
    grid: Grid
    reading: ReadOptions


def write_cube(
    folder: Path, reading: ReadOptions, spread: Callable[[Callable[[Block], None], Sequence[Block]], Any]
) -> Path | None:
    """Write ``cube.zarr`` (format 2) of the filled scenes in a folder, unless it is of these very files.

    It holds ``value`` (filled, float32, NaN where empty) and ``std`` in the data's unit, and ``source`` (0 observed, 1
    filled, 2 left as it was), each (time, y, x); and ``spatial_ref``, the grid mapping that CF and GDAL read.

    Args:
        folder: of filled scenes.
        reading: how their pixels become values.
        spread: applies a function to several arguments, in processes perhaps.

    Returns:
        Its path; None if the folder holds no filled scene.

    Raises:
        DataError: the scenes do not fit together.
        StorageError: it cannot be written.
    """
    dated = filled_scenes(folder, reading)
    path = folder / CUBE
    if not dated:
        return None
    files = [file for _, scene in dated for file in (scene, *sidecars_of(scene))]
    stamp = stamp_files(files)
    if (path / ".zattrs").exists() and zarr.open_group(path, mode="r").attrs.get(STAMP) == stamp:
        return path
    days, scenes = zip(*dated, strict=True)
    plain, grid = reading.plain, common_grid(scenes)
    with opened(scenes[0], plain) as first:
        unit = unit_of(first, plain.band)
    with replacing_folder(path) as made:
        _make(made, grid, days, unit, stamp)
        starts = range(0, len(scenes), DAYS)
        spread(write_block, [Block(made, start, scenes[start : start + DAYS], grid, plain) for start in starts])
        zarr.consolidate_metadata(made, zarr_format=2)
    return path


def write_block(block: Block) -> None:
    """Write some days, by bands of rows that whole chunks make up."""
    cube: Any
    cube, shape = zarr.open_group(block.cube, mode="r+"), (block.grid.height, block.grid.width)
    days = slice(block.first, block.first + len(block.paths))
    for top in range(0, shape[0], SIDE):
        where = slice(top, min(top + SIDE, shape[0])), slice(0, shape[1])
        for kind, dtype in KINDS.items():
            read = [_read(path, kind, block.reading, shape, where) for path in block.paths]
            cube[kind][days, where[0], where[1]] = np.stack(read).astype(dtype)


def _read(path: Path, kind: str, reading: ReadOptions, shape: tuple[int, int], where: tuple[slice, slice]) -> Image:
    origin, deviation = sidecars_of(path)
    if kind != "value":
        return OpenScene(origin if kind == "source" else deviation, ReadOptions(), shape)[where]
    left = OpenScene(origin, ReadOptions(), shape)[where] == EMPTY  # may hold what a quality layer hides
    return np.where(left, np.float32(np.nan), OpenScene(path, reading, shape)[where])


def _make(path: Path, grid: Grid, dates: Sequence[date], unit: str, stamp: str) -> None:
    """An empty cube: axes, grid mapping, and variables without any chunk."""
    mapping = {"GeoTransform": " ".join(f"{number:.17g}" for number in _geotransform(grid))}
    axes: dict[str, dict[str, str]] = {"x": {}, "y": {}}
    if grid.crs:
        crs = pyproj.CRS.from_user_input(grid.crs)
        mapping |= {**crs.to_cf(), "spatial_ref": crs.to_wkt()}
        axes = {one["axis"].lower(): one for one in crs.cs_to_cf()}
    coordinates = {name: (name, values, axes.get(name, {})) for name, values in coordinates_of(grid, dates).items()}
    attributes = {"Conventions": "CF-1.11", STAMP: stamp}
    frame = xarray.Dataset({MAPPING: ((), np.int32(0), mapping)}, coordinates, attributes)
    frame.to_zarr(
        path, mode="a", zarr_format=2, consolidated=False, encoding={"time": {"units": "days since 1970-01-01"}}
    )
    cube, shape = zarr.open_group(path, mode="r+"), (len(dates), grid.height, grid.width)
    for kind, dtype in KINDS.items():
        made = cube.create_array(
            kind,
            shape=shape,
            chunks=(min(DAYS, shape[0]), min(SIDE, shape[1]), min(SIDE, shape[2])),
            dtype=dtype,
            fill_value=np.nan if dtype is np.float32 else None,
        )
        made.attrs["_ARRAY_DIMENSIONS"], made.attrs["grid_mapping"] = list(DIMENSIONS), MAPPING
        if kind == "source":
            made.attrs.update({"flag_values": [0, 1, 2], "flag_meanings": "observed filled left"})
        elif unit:
            made.attrs["units"] = unit
    cube["value"].attrs["ancillary_variables"] = "std source"


def _geotransform(grid: Grid) -> tuple[float, ...]:
    """A transform in GDAL's order."""
    a, b, c, d, e, f = grid.transform
    return c, a, b, f, d, e
