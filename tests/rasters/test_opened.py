"""Days that are opened and not read."""

import os

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from miha.errors import DataError
from miha.rasters.opened import OpenScene
from miha.rasters.stack import ReadOptions


def test_a_block_is_decoded_once_for_all_windows_in_it(tmp_path):
    """Once two blocks were seen, nothing of the file is needed for them any more."""
    path, values = tmp_path / "20200101.tif", np.random.default_rng(0).random((256, 512), np.float32)
    profile = {"driver": "GTiff", "count": 1, "height": 256, "width": 512, "dtype": "float32", "compress": "deflate"}
    profile |= {"crs": "EPSG:32630", "transform": from_origin(0, 0, 30, 30)}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=256, blockysize=256) as raster:
        raster.write(values, 1)
    scene, stat = OpenScene(path, ReadOptions(), values.shape), path.stat()
    for columns in (slice(0, 9), slice(300, 309)):
        assert np.array_equal(scene[0:9, columns], values[0:9, columns])
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(bytes(stat.st_size - 1000))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for columns in (slice(100, 200), slice(400, 500)):
        assert np.array_equal(scene[50:99, columns], values[50:99, columns])


def test_a_scene_that_is_gone_is_told_of_in_a_line(tmp_path):
    with pytest.raises(DataError, match=r"20200101\.tif cannot be read: .*No such file"):
        OpenScene(tmp_path / "20200101.tif", ReadOptions(), (3, 4))[:, :]
