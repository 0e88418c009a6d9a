import shutil

import numpy as np
import pytest
import rasterio

import miha
from miha.errors import DataError
from miha.rasters.stack import ReadOptions, list_rasters, read_stack
from tests.support.rasters import GRID, counted_reads, write
from tests.support.rasters import filled as fill_all

xarray = pytest.importorskip("xarray")


def test_a_data_set_is_its_history_with_the_coordinates_of_pixel_centres(simulated):
    cube, stack = miha.open_stack(simulated), read_stack(simulated / "history")
    assert cube.observed.dims == ("time", "y", "x")
    np.testing.assert_array_equal(cube.observed.values, stack.values)
    assert [str(when)[:10] for when in cube.time.values] == [when.isoformat() for when in stack.dates]
    assert cube.observed.attrs["units"] == "K"
    with rasterio.open(list_rasters(simulated / "history")[0]) as raster:
        assert (cube.x.values[3], cube.y.values[5]) == pytest.approx(raster.xy(5, 3))
        assert cube.attrs["crs"] == raster.crs.to_string()


def test_filled_scenes_come_with_their_maps(simulated, tmp_path):
    miha.fill(list_rasters(simulated / "gapped")[2], tmp_path, data=simulated)
    cube = miha.open_stack(tmp_path)
    assert set(cube) == {"observed", "filled", "std", "source"}
    assert not np.isnan(cube.filled.values).any()
    gaps = cube.source.values == 1
    assert gaps.any()
    assert np.array_equal(np.isnan(cube.observed.values), gaps)
    assert np.array_equal(~np.isnan(cube["std"].values), gaps)
    for file in tmp_path.glob("*.tif"):
        shutil.copy(file, file.with_name(f"again_{file.name}"))
    with pytest.raises(DataError, match="are both of"):
        miha.open_stack(tmp_path)


def test_what_was_filled_is_shown_although_no_quality_layer_calls_it_clear(tmp_path):
    cloudy = np.array([[0, 1, 1, 1]] * 3, np.float32)
    reading = ReadOptions(clear={"band": 2, "values": [0]}, grow=1)
    fill_all(write(tmp_path / "20200101.tif", np.stack([GRID, cloudy])), tmp_path / "out", 285, reading)
    cube = miha.open_stack(tmp_path / "out", reading)
    assert np.array_equal(cube.filled.values[0], np.full_like(GRID, 285))
    assert np.isnan(cube.observed.values).all()


def test_where_a_cloud_stayed_a_filled_scene_shows_nothing(tmp_path):
    cloudy = np.array([[0, 1, 1, 1]] * 3, np.float32)
    reading, expected = ReadOptions(clear={"band": 2, "values": [0]}, grow=1), np.full_like(GRID, 285)
    expected[1, 2] = np.nan
    fill_all(write(tmp_path / "20200101.tif", np.stack([GRID, cloudy])), tmp_path / "out", expected, reading)
    cube = miha.open_stack(tmp_path / "out", reading)
    assert cube.source.values[0, 1, 2] == 2
    assert np.array_equal(cube.filled.values[0], expected, equal_nan=True)


@pytest.mark.parametrize("in_memory", [0, 10**9])
def test_a_stack_is_described_in_a_line_for_which_nothing_more_is_read(simulated, monkeypatch, in_memory):
    monkeypatch.setattr("miha.rasters.stack.IN_MEMORY", in_memory)
    stack = read_stack(simulated / "history")
    with counted_reads() as reads:
        page = stack._repr_html_()
    assert not reads
    assert "12 days" in page
    assert "32 × 32 pixels, K" in page
