import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError
from rasterio.rpc import RPC
from rasterio.shutil import copy
from rasterio.transform import from_origin

from miha.rasters.layout import write_cloud_optimized
from tests.support.rasters import filled, write

HOLED = np.where(
    np.arange(600 * 520).reshape(600, 520) % 97 < 9, 0, 1000 + np.arange(600 * 520).reshape(600, 520) % 300
)
XMP = '<?xpacket begin="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><a b="c=d"/></x:xmpmeta><?xpacket end="w"?>'


def opened(path, **options):
    return rasterio.open(path, "w", driver="GTiff", dtype="uint16", nodata=0, **options)


def test_control_points_and_polynomials_stay_in_the_scene_and_its_maps(tmp_path):
    absent = {"ERR_BIAS": None, "ERR_RAND": None}
    path, corners = tmp_path / "20200101.tif", [(0, 0, -3.7, 40.7), (0, 4, -3.2, 40.7), (3, 0, -3.7, 40.3)]
    polynomials = RPC(
        height_off=1.0,
        height_scale=2.0,
        lat_off=40.0,
        lat_scale=1.0,
        line_off=1.0,
        line_scale=3.0,
        long_off=-3.0,
        long_scale=1.0,
        samp_off=2.0,
        samp_scale=4.0,
        line_num_coeff=[float(number) for number in range(20)],
        line_den_coeff=[1.0] * 20,
        samp_num_coeff=[2.0] * 20,
        samp_den_coeff=[3.0] * 20,
    )
    with opened(path, count=1, height=3, width=4) as raster:
        raster.write(np.array([[0, 5, 6, 7]] * 3, np.uint16), 1)
        raster.gcps = [GroundControlPoint(*corner) for corner in corners], CRS.from_epsg(4326)
        raster.rpcs = polynomials
    filled(path, tmp_path / "out", 9.0)
    for written in (tmp_path / "out").iterdir():
        with rasterio.open(written) as raster:
            points, crs = raster.gcps
            assert [(point.row, point.col, point.x, point.y) for point in points] == corners
            assert crs == CRS.from_epsg(4326)
            assert raster.rpcs.to_gdal() | absent == polynomials.to_gdal() | absent


def test_statistics_of_the_gapped_scene_go(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[np.nan, 5]], np.float32))
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(1, STATISTICS_MEAN="5", STATISTICS_VALID_PERCENT="50", SENSOR="MODIS")
    filled(path, tmp_path / "out", 1.0)
    with rasterio.open(tmp_path / "out" / "20200101.tif") as raster:
        assert raster.tags(1) == {"SENSOR": "MODIS"}


def test_what_lay_beside_a_former_raster_goes_with_it(tmp_path):
    path, out = write(tmp_path / "20200101.tif", np.array([[np.nan, 5]], np.float32)), tmp_path / "out"
    out.mkdir()
    for name in ("20200101.tif", "20200101_std.tif"):
        for suffix in ("", ".ovr", ".aux.xml", ".msk"):
            (out / f"{name}{suffix}").write_text("of old")
    (out / "20200101.txt").write_text("a note")
    filled(path, out, 1.0)
    names = ["20200101.tif", "20200101.txt", "20200101_source.tif", "20200101_std.tif"]
    assert sorted(file.name for file in out.iterdir()) == names


def test_xml_packets_stay_as_they_are(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[np.nan, 5]], np.float32))
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(ns="xml:XMP", **dict([XMP.split("=", 1)]))
    filled(path, tmp_path / "out", 1.0)
    for written in (path, tmp_path / "out" / "20200101.tif"):
        with rasterio.open(written) as raster:
            assert raster.tags(ns="xml:XMP") == {"xml:XMP": XMP}


@pytest.mark.parametrize("external", [False, True])
def test_overviews_stay_and_show_what_was_filled(tmp_path, external):
    path, target = tmp_path / "20200101.tif", tmp_path / "out" / "20200101.tif"
    with opened(path, count=1, height=600, width=520, compress="deflate") as raster:
        raster.write(HOLED.astype(np.uint16), 1)
    with rasterio.Env(TIFF_USE_OVR=external), rasterio.open(path, "r+") as raster:
        raster.build_overviews([2, 4], Resampling.average)
    assert path.with_name("20200101.tif.ovr").exists() == external
    filled(path, tmp_path / "out", 2000.0)
    with rasterio.open(target) as raster:
        assert raster.overviews(1) == [2, 4]
        whole = raster.read(1)
    with rasterio.open(target, overview_level=0) as raster:
        assert raster.tags(1)["RESAMPLING"] == "AVERAGE"
        means = whole.reshape(300, 2, 260, 2).mean(axis=(1, 3))
        assert np.abs(raster.read(1) - means).max() <= 0.5


@pytest.mark.parametrize("compress", ["deflate", "zstd", "lerc"])
def test_a_cloud_optimized_raster_stays_one(tmp_path, compress):
    plain, path = tmp_path / "plain.tif", tmp_path / "20200101.tif"
    with opened(plain, count=2, height=600, width=520, crs="EPSG:32630", transform=from_origin(0, 0, 10, 10)) as raster:
        raster.write(np.stack([HOLED, HOLED + 1]).astype(np.uint16))
        raster.scales, raster.units, raster.descriptions = (0.02, 1.0), ("K", ""), ("lst", "qc")
        raster.update_tags(SENSOR="MODIS")
    copy(plain, path, driver="COG", blocksize=128, compress=compress, overview_resampling="mode")
    before, after = filled(path, tmp_path / "out", 40.0)
    assert np.array_equal(after.values, np.where(before.gaps, np.float32(40), before.values))
    with rasterio.open(path) as old, rasterio.open(tmp_path / "out" / path.name) as new:
        assert new.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        kept = {"compress"} if compress == "lerc" else set()
        assert {key: new.profile[key] for key in new.profile if key not in kept} == {
            key: old.profile[key] for key in old.profile if key not in kept
        }
        for name in ("scales", "units", "descriptions", "block_shapes"):
            assert getattr(new, name) == getattr(old, name)
        assert new.tags() == old.tags()
        assert new.overviews(1) == old.overviews(1) != []
        assert np.array_equal(new.read(2), old.read(2))
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_cloud_optimized_raster_that_cannot_be_written_is_an_error_of_its_own(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[np.nan, 5]], np.float32))
    with pytest.raises(RasterioIOError):
        write_cloud_optimized(path, tmp_path / "nowhere" / "a.tif")
