"""Scenes of other formats than GeoTIFF: read from a plain folder, filled into GeoTIFFs."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from miha.errors import DataError
from miha.rasters.opened import OpenScene
from miha.rasters.options import ReadOptions
from miha.rasters.scene import list_rasters, read_scene
from miha.rasters.stack import read_stack
from miha.rasters.writing import plan_fills, write_filled
from tests.support.downloads import netcdf, raster
from tests.support.rasters import write

PLACE = from_origin(400_000, 4_500_000, 10, 10)
STORED = np.arange(1, 1025, dtype=np.uint16).reshape(32, 32)


def test_jpeg_2000_virtual_rasters_and_netcdf_are_scenes_of_a_folder(tmp_path):
    raster(tmp_path / "20200703.jp2", STORED, transform=PLACE, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    (tmp_path / "20200704.vrt").write_text(
        '<VRTDataset rasterXSize="32" rasterYSize="32"><SRS>EPSG:32630</SRS><GeoTransform>400000, 10, 0, 4500000, 0, -10'
        '</GeoTransform><VRTRasterBand dataType="UInt16" band="1"><SimpleSource><SourceFilename relativeToVRT="1">'
        "20200703.jp2</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert [path.name for path in list_rasters(tmp_path)] == ["20200703.jp2", "20200704.vrt"]
    stack = read_stack(tmp_path)
    assert np.array_equal(stack.values, np.stack([STORED, STORED]))
    coordinates = {"lat": (40 - 0.1 * np.arange(32), "degrees_north"), "lon": (0.1 * np.arange(32), "degrees_east")}
    path = netcdf(tmp_path / "20200705.nc", {"sst": (STORED.astype(np.int16), {"scale_factor": 0.5})}, coordinates)
    assert np.array_equal(read_scene(path).values, STORED * 0.5)
    for path in list_rasters(tmp_path):  # opened and not read, as where they are too many for memory
        part = OpenScene(path, ReadOptions(), STORED.shape)[3:9, 5:30]
        assert np.array_equal(part, read_scene(path).values[3:9, 5:30])


def test_a_file_of_several_rasters_is_reported_with_their_names(tmp_path):
    layer = (STORED.astype(np.int16), {})
    with pytest.raises(
        DataError, match=r"20200705\.nc holds several rasters \(sst, quality\)\. Choose one by a product"
    ):
        read_scene(netcdf(tmp_path / "20200705.nc", {"sst": layer, "quality": layer}))


def test_what_is_filled_is_a_geotiff_under_its_name(tmp_path):
    options = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "nodata": 5}
    path = raster(tmp_path / "20200703.jp2", STORED, transform=PLACE, **options)
    target = plan_fills([path], tmp_path / "out")[path]
    assert target == tmp_path / "out" / "20200703.tif"
    scene = read_scene(path)
    reading = ReadOptions(nodata=5)
    gaps = np.asarray(STORED == 5)
    write_filled(
        path, target, np.where(gaps, 77, scene.values).astype(np.float32), np.ones_like(scene.values), gaps, reading
    )
    with rasterio.open(target) as filled:
        assert (filled.driver, filled.crs.to_epsg(), filled.transform) == ("GTiff", 32630, PLACE)
        assert np.array_equal(filled.read(1), np.where(gaps, 77, STORED))
    with pytest.raises(DataError, match="would both write"):
        plan_fills([path, write(tmp_path / "20200703.tif", STORED)], tmp_path / "out")
