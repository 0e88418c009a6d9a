import shutil

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError

from miha.errors import DataError, StorageError
from miha.rasters.stack import ReadOptions, read_scene
from miha.rasters.writing import Part, _map, _profile, plan_fills, write_filled, write_parts
from tests.support.rasters import filled, write

OPTIONS = ReadOptions()


def test_only_gap_pixels_change_and_all_else_stays(tmp_path):
    values = np.random.default_rng(0).random((70, 300)).astype(np.float32)
    values[10:30, 5:280] = -100
    path = write(
        tmp_path / "20200101.tif",
        values,
        nodata=-100,
        tags={"SENSOR": "MODIS", "TIFFTAG_DATETIME": "2020:01:01 00:00:00"},
    )
    filled(path, tmp_path / "out", 7.0)
    with rasterio.open(path) as before, rasterio.open(tmp_path / "out" / "20200101.tif") as after:
        assert {**before.profile} == {**after.profile}
        assert before.tags() == after.tags()
        assert before.units == after.units
        old, new = before.read(1), after.read(1)
    gap = old == -100
    assert np.array_equal(old[~gap], new[~gap])
    assert (new[gap] == 7.0).all()


def test_the_sidecar_tells_what_was_filled(tmp_path):
    values = np.ones((5, 6), np.float32)
    values[2:4] = np.nan
    filled(write(tmp_path / "20200101.tif", values), tmp_path / "out", 2.0)
    with rasterio.open(tmp_path / "out" / "20200101_source.tif") as sidecar:
        assert sidecar.dtypes == ("uint8",)
        assert np.array_equal(sidecar.read(1), np.isnan(values))
        assert sidecar.crs.to_epsg() == 32630


@pytest.mark.parametrize("unit", [{"unit": "K"}, {"unit": "", "tags": {"units": "K"}}])
def test_a_map_beside_tells_how_sure_filled_pixels_are(tmp_path, unit):
    values = np.ones((5, 6), np.float32)
    values[2:4] = np.nan
    filled(write(tmp_path / "20200101.tif", values, scale=0.5, **unit), tmp_path / "out", 2.0, std=0.25)
    with rasterio.open(tmp_path / "out" / "20200101_std.tif") as sidecar:
        assert (sidecar.dtypes, sidecar.units, sidecar.scales) == (("float32",), ("K",), (1.0,))
        assert np.isnan(sidecar.nodata)
        assert np.array_equal(sidecar.read(1), np.where(np.isnan(values), 0.25, np.nan), equal_nan=True)
        assert sidecar.crs.to_epsg() == 32630


@pytest.mark.parametrize(("dtype", "nodata"), [(np.float32, np.nan), (np.float32, -100), (np.uint16, 7)])
def test_a_gap_without_a_value_stays_empty(tmp_path, dtype, nodata):
    stored = np.array([[nodata, nodata, 5], [3, 4, nodata]]).astype(dtype)
    path, out = write(tmp_path / "20200101.tif", stored, nodata=nodata), tmp_path / "out"
    gaps = read_scene(path).gaps
    values = np.array([[np.nan, 2, np.nan], [np.nan, 2, 2]], np.float32)
    write_filled(path, out / path.name, values, np.ones_like(values), gaps, OPTIONS)
    expected = np.array([[np.nan, 2, 5], [3, 4, 2]], np.float32)
    assert np.array_equal(read_scene(out / path.name).values, expected, equal_nan=True)
    with rasterio.open(out / "20200101_source.tif") as origin:
        assert origin.read(1).tolist() == [[2, 1, 0], [0, 0, 1]]
    with rasterio.open(out / "20200101_std.tif") as deviation:
        assert np.isnan(deviation.read(1)).tolist() == [[True, False, True], [True, True, False]]


@pytest.mark.parametrize("hidden_by", ["mask", "alpha"])
def test_what_a_mask_hides_stays_hidden_where_it_is_not_filled(tmp_path, hidden_by):
    bands = np.array([[[9, 9, 9]], [[0, 0, 255]]], np.uint8)
    path = write(tmp_path / "20200101.tif", bands if hidden_by == "alpha" else bands[0])
    with rasterio.open(path, "r+") as raster:
        if hidden_by == "alpha":
            raster.colorinterp = ColorInterp.gray, ColorInterp.alpha
        else:
            raster.write_mask(bands[1])
    values, target = np.array([[5, np.nan, np.nan]], np.float32), tmp_path / "out" / path.name
    write_filled(path, target, values, np.ones_like(values), read_scene(path).gaps, OPTIONS)
    assert np.array_equal(read_scene(target).values, [[5, np.nan, 9]], equal_nan=True)


@pytest.mark.parametrize(("value", "stored"), [(300.004, 15000), (0.0, 1), (-5.0, 1), (9999.0, 65535)])
def test_scaled_integers_are_rounded_clipped_and_never_the_nodata_code(tmp_path, value, stored):
    path = write(tmp_path / "20200101.tif", np.array([[0, 15000]], np.uint16), nodata=0, scale=0.02)
    filled(path, tmp_path / "out", value)
    with rasterio.open(tmp_path / "out" / "20200101.tif") as after:
        assert after.read(1).tolist() == [[stored, 15000]]
        assert after.scales == (0.02,)


@pytest.mark.parametrize(("value", "expected"), [(-3.0, 0.0), (0.4, 0.4), (7.0, 1.0)])
def test_filled_pixels_keep_a_valid_range_and_observed_ones_need_not(tmp_path, value, expected):
    path = write(tmp_path / "20200101.tif", np.array([[-100, 5]], np.float32), nodata=-100)
    _, after = filled(path, tmp_path / "out", value, ReadOptions(valid_range=(0, 1)))
    assert after.values[0].tolist() == pytest.approx([expected, 5])


@pytest.mark.parametrize(("code", "expected"), [(255, 254), (10, 9), (0, 1)])
def test_an_integer_beside_the_nodata_code_is_taken_instead(tmp_path, code, expected):
    path = write(tmp_path / "20200101.tif", np.array([[code, 77]], np.uint8), nodata=code)
    filled(path, tmp_path / "out", code - 0.2 if code else -0.2)
    with rasterio.open(tmp_path / "out" / "20200101.tif") as after:
        assert after.read(1).tolist() == [[expected, 77]]


def test_a_float_is_never_the_nodata_code_either(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[-100, 5]], np.float32), nodata=-100)
    _, after = filled(path, tmp_path / "out", -100.0)
    assert not after.gaps.any()
    assert after.values[0, 0] == pytest.approx(-100, abs=1e-4)


def test_other_bands_stay(tmp_path):
    values = np.stack([np.full((4, 4), np.nan), np.eye(4)]).astype(np.float32)
    values[1, 0, 0] = np.nan
    filled(write(tmp_path / "20200101.tif", values), tmp_path / "out", 9.0, ReadOptions(band=2))
    with rasterio.open(tmp_path / "out" / "20200101.tif") as after:
        assert np.isnan(after.read(1)).all()
        assert after.read(2)[0].tolist() == [9, 0, 0, 0]


def test_an_input_is_never_overwritten(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[np.nan, 5]], np.float32))
    before = path.read_bytes()
    with pytest.raises(DataError, match="would overwrite its input"):
        filled(path, tmp_path, 1.0)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    path = write(tmp_path / "20200101.tif", np.array([[np.nan, 5]], np.float32))
    (tmp_path / "out").mkdir()
    shutil.copy(path, tmp_path / "out" / path.name)

    def full(*_, **__):
        raise RasterioIOError("No space left on device")

    monkeypatch.setattr("rasterio.io.DatasetWriter.write", full, raising=False)
    scene = read_scene(path)
    with pytest.raises(StorageError, match=r"cannot write .*20200101\.tif: No space left"):
        write_filled(path, tmp_path / "out" / path.name, np.ones((1, 2)), np.ones((1, 2)), scene.gaps, OPTIONS)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["20200101.tif"]
    assert (tmp_path / "out" / "20200101.tif").read_bytes() == path.read_bytes()


def test_outputs_never_overwrite_an_input_or_each_other(tmp_path):
    for name in ("a/x.tif", "b/x.tif", "a/x_source.tif", "a/x_std.tif"):
        write(tmp_path / name, np.array([[np.nan, 5]], np.float32))
    with pytest.raises(DataError, match="would overwrite an input"):
        plan_fills([tmp_path / "a/x.tif", tmp_path / "b/x.tif"], tmp_path / "b")
    with pytest.raises(DataError, match="would both write"):
        plan_fills([tmp_path / "a/x.tif", tmp_path / "b/x.tif"], tmp_path / "out")
    with pytest.raises(DataError, match="would both write"):
        plan_fills([tmp_path / "a/x_source.tif", tmp_path / "a/x.tif"], tmp_path / "out")
    with pytest.raises(DataError, match="would both write"):
        plan_fills([tmp_path / "a/x.tif", tmp_path / "a/x_std.tif"], tmp_path / "out")


def test_masked_pixels_are_gaps_and_are_filled(tmp_path):
    path = write(tmp_path / "20200101.tif", np.zeros((4, 5), np.float32))
    with rasterio.open(path, "r+") as raster:
        raster.write_mask(np.array([[0] * 5, *[[255] * 5] * 3], np.uint8))
    before, after = filled(path, tmp_path / "out", 9.0)
    assert before.gaps.sum() == 5
    assert after.values[0].tolist() == [9.0] * 5


def test_two_nodata_codes_side_by_side_are_both_avoided(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[0, 77]], np.uint16), nodata=0)
    filled(path, tmp_path / "out", -0.2, ReadOptions(nodata=1))
    with rasterio.open(tmp_path / "out" / "20200101.tif") as after:
        assert after.read(1).tolist() == [[2, 77]]


def test_a_filled_pixel_takes_none_of_many_codes(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[255, 77]], np.uint8), nodata=255)
    filled(path, tmp_path / "out", 260.0, ReadOptions(nodata=[252, 253], keep=[254]))
    with rasterio.open(tmp_path / "out" / "20200101.tif") as after:
        assert after.read(1).tolist() == [[251, 77]]


def test_observed_pixels_of_a_lossy_raster_stay(tmp_path):
    values = np.random.default_rng(0).integers(1, 255, (64, 64)).astype(np.uint8)
    values[:20] = 0
    path = tmp_path / "20200101.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=64, width=64, dtype="uint8", nodata=0, compress="jpeg"
    ) as raster:
        raster.write(values, 1)
    before, after = filled(path, tmp_path / "out", 100.0)
    assert np.array_equal(before.values[~before.gaps], after.values[~before.gaps])


@pytest.mark.parametrize("code", [-9999, 70000])
def test_a_nodata_code_that_the_type_cannot_hold_is_no_obstacle(tmp_path, code):
    path = write(tmp_path / "20200101.tif", np.array([[0, 77]], np.uint16), nodata=0)
    filled(path, tmp_path / "out", 5.0, ReadOptions(nodata=code))
    with rasterio.open(tmp_path / "out" / "20200101.tif") as after:
        assert after.read(1).tolist() == [[5, 77]]


def test_what_an_alpha_band_hides_is_shown_once_it_is_filled(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[[9, 9, 9]], [[0, 255, 128]]], np.uint8))
    with rasterio.open(path, "r+") as raster:
        raster.colorinterp = ColorInterp.gray, ColorInterp.alpha
    before, after = filled(path, tmp_path / "out", 5.0)
    assert before.gaps.tolist() == [[True, False, False]]
    assert after.values.tolist() == [[5, 9, 9]]
    with rasterio.open(tmp_path / "out" / "20200101.tif") as raster:
        assert raster.read(2).tolist() == [[255, 255, 128]]


def test_a_valid_range_is_of_the_band_to_fill_and_not_of_others_that_its_mask_hides(tmp_path):
    path = write(tmp_path / "20200101.tif", np.stack([[[-100, 300]], [[-100, 5]]]).astype(np.float32), nodata=-100)
    gaps = np.array([[True, False]])
    kelvin, celsius, std = (np.full((1, 2), value, np.float32) for value in (350, 80, 1))
    out = tmp_path / "out" / path.name
    write_parts(path, out, lambda where: Part(kelvin, std, gaps, {2: celsius}), ReadOptions(valid_range=(250, 310)))
    with rasterio.open(out) as after:
        assert after.read()[:, 0].tolist() == [[310, 300], [80, 5]]


def test_what_may_grow_beyond_4_gb_is_a_bigtiff(tmp_path):
    size = {"height": 70_000, "width": 70_000, "count": 1, "dtype": "uint16"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", compress="deflate", bigtiff="yes", **size):
        pass  # all zero, which takes little room
    with rasterio.open(tmp_path / "a.tif") as raster:
        rasterio.open(tmp_path / "scene.tif", "w", **_profile(raster)).close()
        _map(tmp_path / "map.tif", np.uint8, raster, None, "").close()
    for name in ("scene", "map"):
        with (tmp_path / f"{name}.tif").open("rb") as file:
            assert file.read(4) == b"II+\0"
