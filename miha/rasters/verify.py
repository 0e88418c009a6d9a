"""A raster that was just written is read to its end."""

from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from miha.errors import StorageError
from miha.rasters.window import first_line


def verify_raster(path: Path) -> None:
    """Read a raster that was just written to its end: GDAL may note a full disk only when the last blocks are flushed.

    Raises:
        StorageError: not all of it is there.
    """
    try:
        with rasterio.open(path) as raster:
            for _, window in raster.block_windows(1):
                raster.read(window=window)
    except (RasterioError, OSError) as error:
        raise StorageError(
            f"{path} could not be written whole ({first_line(error)}). Free space on the disk."
        ) from error
