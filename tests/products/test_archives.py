"""Products of the package, on tiny downloads with the types, names and bits that their archives document."""

import json
import shutil
import zipfile
from datetime import date

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate

from miha.errors import ConfigError, DataError
from miha.gapfill.filler import BaseFiller
from miha.products.downloads import find_observations
from miha.products.grid import GridChoice
from miha.products.prepare import prepare
from miha.products.product import read_product
from miha.rasters.scene import declared_range
from miha.rasters.stack import ReadOptions, read_scene, read_stack
from tests.support.downloads import mod11a1, netcdf, raster


def values_of(out, day):
    return read_scene(out / "history" / f"{day}.tif").values


@pytest.fixture(scope="module")
def modis(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modis")
    mod11a1(folder / "raw", days=6, clouds=0.3)
    prepare([str(folder / "raw")], read_product("mod11a1"), folder / "data")
    return folder


def test_mod11a1_has_kelvin_where_it_was_produced_with_an_error_of_at_most_2_k(modis):
    day = "doy2020187_aid0001.tif"
    with rasterio.open(modis / "raw" / f"MOD11A1.061_LST_Day_1km_{day}") as file:
        stored = file.read(1)
    with rasterio.open(modis / "raw" / f"MOD11A1.061_QC_Day_{day}") as file:
        quality = file.read(1)
    clear = (quality & 0b11 <= 1) & (quality >> 6 <= 1) & (stored >= 7500)
    assert 0 < (quality >> 6 == 3).sum() < clear.sum()
    values = values_of(modis / "data", "2020-07-05")
    np.testing.assert_allclose(values, np.where(clear, stored * 0.02, np.nan), rtol=1e-6)


def test_a_prepared_day_is_a_valid_cloud_optimized_raster_with_its_scale_unit_day_and_sources(modis):
    for path in sorted((modis / "data" / "history").glob("*.tif")):
        valid, errors, _ = cog_validate(path)
        assert valid, errors
        with rasterio.open(path) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert (file.dtypes, file.nodata, file.scales, file.units) == (("uint16",), 0, (0.02,), ("K",))
            assert file.tags()["TIFFTAG_DATETIME"].startswith(path.stem.replace("-", ":"))
            assert file.tags()["MIHA_SOURCES"].startswith("MOD11A1.061_LST_Day_1km_doy2020")
    assert len(read_stack(modis / "data" / "history")) == 6


def test_the_valid_range_goes_with_the_stack_in_its_unit(modis, tmp_path):
    limits = (7500 * 0.02, 65535 * 0.02)
    assert json.loads((modis / "data" / "stack.json").read_text())["valid_range"] == pytest.approx(limits)
    filled = tmp_path / "2020-07-05.tif"
    BaseFiller(modis / "data").fill(modis / "data" / "history" / filled.name, filled)
    for path in (modis / "data" / "history" / filled.name, filled):
        assert declared_range(path, ReadOptions()) == pytest.approx(limits)


def test_the_page_shows_the_masks_and_the_months(modis):
    page = (modis / "data" / "stack.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "2020-07" in page
    assert "Are the masks right?" in page


def test_landsat_is_scaled_and_its_clouds_and_rims_are_gaps(tmp_path):
    temperature = np.full((20, 20), 44000, np.uint16)
    quality = np.full((20, 20), 21824, np.uint16)  # clear, all confidences low
    quality[5, 5], quality[0, 0], quality[19, 19], quality[0, 19] = 22280, 1, 23888, 30048  # cloud, fill, shadow, snow
    name = "LC08_L2SP_201032_20200704_20200913_02_T1"
    raster(tmp_path / "raw" / f"{name}_ST_B10.TIF", temperature, nodata=0)
    raster(tmp_path / "raw" / f"{name}_QA_PIXEL.TIF", quality, nodata=1)
    raster(tmp_path / "raw" / f"{name}_SR_B4.TIF", np.full((20, 20), 10000, np.uint16), nodata=0)
    raster(tmp_path / "raw" / f"{name}_SR_B3.TIF", np.full((20, 20), 20000, np.uint16), nodata=0)
    product = read_product("landsat-c2-l2")
    prepare([str(tmp_path / "raw")], product, tmp_path / "st")
    values = values_of(tmp_path / "st", "2020-07-04")
    assert values[10, 10] == pytest.approx(44000 * 0.00341802 + 149, abs=1e-3)
    gaps = np.zeros((20, 20), bool)
    gaps[3:8, 3:8] = gaps[:3, :3] = gaps[17:, 17:] = True
    assert np.array_equal(np.isnan(values), gaps)
    prepare([str(tmp_path / "raw")], product, tmp_path / "red", layer="RED")
    assert values_of(tmp_path / "red", "2020-07-04")[10, 10] == pytest.approx(10000 * 0.0000275 - 0.2, abs=1e-6)


def sentinel2(folder, day, baseline, band, classes):
    safe = f"S2A_MSIL2A_{day}T105619_N{baseline}_R094_T30TVK_{day}T140000.SAFE/GRANULE/L2A_T30TVK/IMG_DATA"
    options = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    place = from_origin(400_000, 4_500_000, 10, 10)
    raster(folder / safe / "R10m" / f"T30TVK_{day}T105619_B04_10m.jp2", band, transform=place, **options)
    place = from_origin(400_000, 4_500_000, 20, 20)
    raster(folder / safe / "R20m" / f"T30TVK_{day}T105619_SCL_20m.jp2", classes, transform=place, **options)


def test_sentinel_2_loses_1000_from_baseline_4_on_and_its_classes_are_of_20_m(tmp_path):
    band = np.full((64, 64), 1500, np.uint16)
    band[0, 0] = 0
    classes = np.full((32, 32), 4, np.uint8)
    classes[16, 16], classes[8, 8], classes[9, 20] = 9, 3, 11  # cloud, shadow, snow
    sentinel2(tmp_path / "raw", "20210704", "0301", band, classes)
    sentinel2(tmp_path / "raw", "20220704", "0400", band, classes)
    zipped = tmp_path / "S2.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for path in (tmp_path / "raw").rglob("*.jp2"):
            archive.write(path, path.relative_to(tmp_path / "raw"))
    shutil.rmtree(tmp_path / "raw")
    record = prepare([str(zipped)], read_product("sentinel2-l2a"), tmp_path / "data")
    old, new = values_of(tmp_path / "data", "2021-07-04"), values_of(tmp_path / "data", "2022-07-04")
    assert old[5, 5] == pytest.approx(0.15, abs=1e-6)
    assert new[5, 5] == pytest.approx(0.05, abs=1e-6)
    gaps = np.zeros((64, 64), bool)
    gaps[:3, :3] = gaps[30:36, 30:36] = gaps[14:20, 14:20] = True
    assert np.array_equal(np.isnan(new), gaps)
    assert record.days[0].sources[0].startswith("/vsizip/")


def test_ghrsst_is_read_from_subdatasets_with_their_own_scale_and_quality_levels(tmp_path):
    stored = np.arange(600, dtype=np.int16).reshape(20, 30)
    stored[0, 0] = -32768
    levels = np.full((20, 30), 5, np.int8)
    levels[3, 4], levels[5, 6] = 3, 4
    for day in ("20200704", "20200705"):
        netcdf(
            tmp_path / "raw" / f"{day}120000-NAVO-L3C_GHRSST-SSTskin-VIIRS_NPP-v02.0-fv01.0.nc",
            {
                "sea_surface_temperature": (
                    stored,
                    {"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": np.int16(-32768), "units": "kelvin"},
                ),
                "quality_level": (levels, {"_FillValue": np.int8(-128)}),
            },
            {"lat": (30 + 0.05 * np.arange(20), "degrees_north"), "lon": (-4 + 0.05 * np.arange(30), "degrees_east")},
        )
    record = prepare([str(tmp_path / "raw")], read_product("ghrsst"), tmp_path / "data")
    values = values_of(tmp_path / "data", "2020-07-05")[::-1]  # GDAL turns north up
    expected = np.where((stored == -32768) | (levels < 4), np.nan, stored * 0.01 + 273.15)
    np.testing.assert_allclose(values, expected, atol=0.0051)
    assert (record.grid.height, record.grid.width, record.unit) == (20, 30, "K")
    assert record.grid.transform[0] == pytest.approx(0.05)


def test_of_an_analysis_of_ghrsst_land_and_ice_are_gaps_and_lakes_and_rivers_are_not(tmp_path):
    kinds = np.array([[1, 2, 4, 5, 9, 13, 16, 17, -128]], np.int8).repeat(4, axis=0)
    stored = np.full(kinds.shape, 1500, np.int16)
    scaled = {"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": np.int16(-32768), "units": "kelvin"}
    place = {"lat": (30 + 0.05 * np.arange(4), "degrees_north"), "lon": (-4 + 0.05 * np.arange(9), "degrees_east")}
    layers = {"analysed_sst": (stored, scaled), "mask": (kinds, {"_FillValue": np.int8(-128)})}
    netcdf(tmp_path / "raw" / "20200704120000-UKMO-L4_GHRSST-SSTfnd-OSTIA-GLOB-v02.0-fv02.0.nc", layers, place)
    prepare([str(tmp_path / "raw")], read_product("ghrsst"), tmp_path / "data", layer="analysed_sst")
    seen = ~np.isnan(values_of(tmp_path / "data", "2020-07-04")[0])
    assert kinds[0][seen].tolist() == [1, 4, 5, 16, 17]


def test_slstr_swaths_are_brought_to_a_grid_by_their_longitudes_and_latitudes(tmp_path):
    rows, columns = np.mgrid[:40, :50]
    longitude, latitude = -4 + 0.01 * columns + 0.002 * rows, 40 - 0.01 * rows + 0.002 * columns
    kelvin = 290 + 10 * (longitude + 4)
    flags = np.where((rows < 5) & (columns < 50), 1 << 14, 8).astype(np.int16)
    folder = tmp_path / "raw" / "S3A_SL_2_LST____20200704T101010_20200704T101310_20200705T000000_0179_060_108.SEN3"
    scaled = {"scale_factor": 0.002, "add_offset": 290.0, "_FillValue": np.int16(-32768)}
    netcdf(folder / "LST_in.nc", {"LST": (np.rint((kelvin - 290) / 0.002).astype(np.int16), scaled)})
    netcdf(folder / "flags_in.nc", {"confidence_in": (flags, {}), "cloud_in": (flags, {})})
    netcdf(folder / "geodetic_in.nc", {"longitude_in": (longitude, {}), "latitude_in": (latitude, {})})

    product = read_product("sentinel3-slstr-lst")
    with pytest.raises(ConfigError, match="the scenes lie on no grid: give --like"):
        prepare([str(tmp_path / "raw")], product, tmp_path / "data")
    choice = GridChoice(crs="EPSG:4326", resolution=0.01, bounds=(-3.9, 39.65, -3.6, 39.95))
    prepare([str(tmp_path / "raw")], product, tmp_path / "data", choice=choice)
    values = values_of(tmp_path / "data", "2020-07-04")
    assert values.shape == (30, 30)
    expected = 290 + 10 * (-3.9 + 0.01 * (np.arange(30) + 0.5) + 4)
    seen = ~np.isnan(values)
    assert seen[5:].mean() > 0.95
    assert np.abs(values - expected)[seen].max() < 0.11  # the nearest pixel lies within a hundredth of a degree


@pytest.mark.parametrize(
    ("product", "layer", "scene", "quality"),
    [
        (
            "mod11a1",
            "LST_Night_1km",
            "MYD11A1.061_LST_Night_1km_doy2020185000000_aid0002.tif",
            "MYD11A1.061_QC_Night_doy2020185000000_aid0002.tif",
        ),
        ("mod11a1", None, "MOD11A1.A2020185.h17v04.061.2021007225643.hdf", None),
        ("vnp21", None, "VNP21A1D.002_LST_1KM_doy2020185_aid0001.tif", "VNP21A1D.002_QC_doy2020185_aid0001.tif"),
        ("vnp21", "N", "VJ121A1N.A2020185.h17v04.002.2023123123456.h5", None),
        (
            "mod13q1",
            None,
            "MOD13Q1.061__250m_16_days_NDVI_doy2020185_aid0001.tif",
            "MOD13Q1.061__250m_16_days_pixel_reliability_doy2020185_aid0001.tif",
        ),
        (
            "landsat-c2-l2",
            "NIR",
            "LT05_L2SP_201032_20200703_20200913_02_T1_SR_B4.TIF",
            "LT05_L2SP_201032_20200703_20200913_02_T1_QA_PIXEL.TIF",
        ),
    ],
)
def test_names_of_archives_are_known_with_their_days_and_quality_layers(product, layer, scene, quality):
    _, recipes = read_product(product).of_layer(layer)
    others = ["readme.txt", "MOD11A1.061_Emis_31_doy2020185_aid0001.tif"]
    files = [f"raw/{name}" for name in (scene, quality, *others) if name]
    (found,) = find_observations(files, recipes).observations
    assert (found.path, found.when) == (f"raw/{scene}", date(2020, 7, 3))
    assert set(found.quality) == {f"raw/{quality or scene}"}


LATITUDES = {"lat": (40 - 0.01 * np.arange(20), "degrees_north"), "lon": (-4 + 0.01 * np.arange(30), "degrees_east")}


def test_a_cube_of_appeears_has_a_day_in_each_band_and_its_quality_in_the_same(tmp_path):
    kelvin = np.full((3, 20, 30), 15000, np.int16) + np.arange(3, dtype=np.int16)[:, None, None] * 100
    quality = np.zeros((3, 20, 30), np.int8)
    quality[1, 4, 5] = 2
    layers = {"LST_Day_1km": (kelvin, {}), "QC_Day": (quality, {})}
    path = netcdf(tmp_path / "MOD11A1.061_1km_aid0001.nc", layers, LATITUDES)
    record = prepare([str(path)], read_product("mod11a1"), tmp_path / "data")
    assert [day.date for day in record.days] == [date(2020, 7, 3), date(2020, 7, 5), date(2020, 7, 7)]
    values = values_of(tmp_path / "data", "2020-07-05")
    assert np.isnan(values[4, 5])
    assert np.isnan(values).sum() == 1
    assert values[0, 0] == pytest.approx(302)


def test_a_cube_whose_calendar_has_other_days_is_refused(tmp_path):
    path = netcdf(tmp_path / "a.nc", {"t": (np.ones((2, 20, 30), np.float32), {})}, LATITUDES, calendar="360_day")
    with pytest.raises(DataError, match=r"a\.nc has no time axis that is understood .*calendar '360_day'"):
        prepare([str(path)], read_product("netcdf-cube"), tmp_path / "data")
