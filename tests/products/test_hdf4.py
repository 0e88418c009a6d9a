"""HDF-EOS files of MODIS, which the GDAL of rasterio's wheels does not read."""

import sys
import zipfile
from datetime import date

import numpy as np
import pytest
import rasterio

from miha.errors import DataError
from miha.products.layers import open_layer
from miha.products.prepare import prepare
from miha.products.product import read_product
from miha.rasters.stack import read_scene
from tests.support.downloads import SINUSOIDAL
from tests.support.hdf_eos import hdf_eos

pytest.importorskip("pyhdf", reason="needs the extra hdf4")

TILE = (-1111950.519667, 5559752.598333), (0.0, 4447802.078667)  # h17v04


@pytest.fixture
def stored():
    return np.random.default_rng(0).integers(14_000, 16_000, (40, 30)).astype(np.uint16)


def daily(path, stored, quality, **place):
    layers = {
        "LST_Day_1km": (stored, {"_FillValue": 0, "scale_factor": 0.02, "units": "K"}),
        "QC_Day": (quality, {"scale_factor": "n/a"}),
    }
    return hdf_eos(path, {"MODIS_Grid_Daily_1km_LST": layers}, **({"corners": TILE} | place))


def test_a_day_of_mod11a1_is_prepared_from_it_with_place_scale_and_quality(tmp_path, stored):
    stored[0, 0] = 0
    quality = np.where(np.arange(30) < 5, 0b10, 0b01_00_00_01) * np.ones((40, 1))
    for day in (185, 186):
        daily(
            tmp_path / "raw" / f"MOD11A1.A2020{day}.h17v04.061.2021008123456.hdf",
            stored + day % 2,
            quality.astype(np.uint8),
        )
    record = prepare([str(tmp_path / "raw")], read_product("mod11a1"), tmp_path / "data")
    assert [day.date for day in record.days] == [date(2020, 7, 3), date(2020, 7, 4)]
    path = tmp_path / "data" / "history" / "2020-07-04.tif"
    with rasterio.open(path) as raster:
        assert raster.bounds == pytest.approx((TILE[0][0], TILE[1][1], TILE[1][0], TILE[0][1]))
        assert raster.crs == SINUSOIDAL
    expected = np.where(quality == 0b10, np.nan, stored * 0.02)
    expected[0, 0] = np.nan
    np.testing.assert_allclose(read_scene(path).values, expected, rtol=1e-6)


def test_a_layer_has_the_grid_that_it_belongs_to(tmp_path, stored):
    """Sizes differ between the grids of MOD09GA and the like."""
    grids = {"coarse": {"state": (stored[::2, ::2], {})}, "fine": {"reflectance": (stored, {})}}
    path = hdf_eos(tmp_path / "a.hdf", grids, TILE)
    for name, size in (("state", (20, 15)), ("refl*", (40, 30))):
        with open_layer(str(path), name, 1) as (raster, _):
            assert raster.shape == size
            assert raster.bounds == pytest.approx((TILE[0][0], TILE[1][1], TILE[1][0], TILE[0][1]))


def test_metadata_in_several_pieces_is_joined(tmp_path):
    layers = {f"layer{number}": (np.full((2, 2), number, np.uint16), {}) for number in range(400)}
    path = hdf_eos(tmp_path / "a.hdf", {"grid": layers}, TILE)
    with open_layer(str(path), "layer399", 1) as (raster, _):
        assert (raster.read(1) == 399).all()


def test_degrees_are_unpacked(tmp_path, stored):
    corners = (-10_030_000.0, 60_000_000.0), (5_000_000.0, 40_015_036.0)
    path = daily(tmp_path / "a.hdf", stored, stored, corners=corners, projection="GCTP_GEO", parameters="0" + ",0" * 12)
    with open_layer(str(path), "LST*", 1) as (raster, _):
        assert raster.crs.to_epsg() == 4326
        assert raster.bounds == pytest.approx((-10.5, 40.26, 5, 60))
        assert (raster.nodata, raster.scales, raster.offsets, raster.units) == (0, (0.02,), (0,), ("K",))
        np.testing.assert_array_equal(raster.read(1), stored)


@pytest.mark.parametrize(
    ("broken", "wanted", "reason"),
    [
        (lambda path: None, None, "has several subdatasets: LST_Day_1km, QC_Day"),
        (lambda path: None, "NDVI", "has no subdataset NDVI: LST_Day_1km, QC_Day"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "QC_Day", r"a\.hdf cannot be read: .* Get it anew"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"GRID_1", b"grid 1")), "QC_Day", "it is no grid"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"SNSOID", b"LAMAZ ")), "QC_Day", "only GCTP_SNSOID"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, stored, broken, wanted, reason):
    path = daily(tmp_path / "a.hdf", stored, stored)
    broken(path)
    with pytest.raises(DataError, match=reason), open_layer(str(path), wanted, 1):
        pass


def test_one_in_an_archive_is_to_be_unpacked(tmp_path, stored):
    day = daily(tmp_path / "MOD11A1.A2020185.h17v04.061.2021008123456.hdf", stored, stored)
    with zipfile.ZipFile(tmp_path / "download.zip", "w") as archive:
        archive.write(day, day.name)
    with pytest.raises(
        DataError, match=r"download\.zip/MOD11A1.*\.hdf cannot be read .* an HDF4 file, unpack or download it"
    ):
        prepare([str(tmp_path / "download.zip")], read_product("mod11a1"), tmp_path / "data")


def test_without_pyhdf_what_to_install_is_said(tmp_path, stored, monkeypatch):
    path = daily(tmp_path / "a.hdf", stored, stored)
    monkeypatch.setitem(sys.modules, "pyhdf.SD", None)
    with (
        pytest.raises(DataError, match=r"is an HDF4 file, .*pip install 'miha\[hdf4\]'"),
        open_layer(str(path), None, 1),
    ):
        pass
