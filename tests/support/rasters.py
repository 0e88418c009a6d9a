"""What tests of rasters share: writing one, and noting which are opened and read."""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.io import DatasetReader
from rasterio.transform import from_origin

from miha.rasters.stack import ReadOptions, read_scene
from miha.rasters.writing import write_filled

GRID = np.arange(12, dtype=np.float32).reshape(3, 4) + 280


def write(
    path: Path, values, *, crs="EPSG:32630", west=0.0, nodata=None, scale=1.0, offset=0.0, unit="K", tags=None
) -> Path:
    """One raster; (height, width) or (bands, height, width)."""
    values = np.asarray(values)
    bands = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(bands),
        height=bands.shape[1],
        width=bands.shape[2],
        dtype=bands.dtype.name,
        crs=crs,
        transform=from_origin(west, 0, 10, 10),
        nodata=nodata,
    ) as raster:
        raster.write(bands)
        raster.scales, raster.offsets, raster.units = [scale] * len(bands), [offset] * len(bands), [unit] * len(bands)
        raster.update_tags(**(tags or {}))
    return path


@contextmanager
def counted_reads():
    """How often the pixels of each raster (its path below the data set) are read in this process during the block.

    A raster that was opened and not read counts 0.
    """
    reads, opened, read = Counter(), rasterio.open, DatasetReader.read

    def opening(path, *arguments, **options):
        reads[_place(path)] += 0
        return opened(path, *arguments, **options)

    def reading(raster, *arguments, **options):
        reads[_place(raster.name)] += 1
        return read(raster, *arguments, **options)

    rasterio.open, DatasetReader.read = opening, reading
    try:
        yield reads
    finally:
        rasterio.open, DatasetReader.read = opened, read


def _place(path) -> str:
    return "/".join(Path(path).parts[-2:])


def filled(path, out, value, options=ReadOptions(), std=0.5):
    """Fill all gaps of a raster with one value: the scene before and after."""
    scene = read_scene(path, options)
    values, deviation = (np.full(scene.values.shape, one, np.float32) for one in (value, std))
    write_filled(path, out / path.name, values, deviation, scene.gaps, options)
    return scene, read_scene(out / path.name, ReadOptions(band=options.band))
