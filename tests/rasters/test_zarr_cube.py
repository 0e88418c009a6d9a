"""A Zarr cube of filled scenes, as xarray reads it."""

import numpy as np
import pytest
import rasterio

from miha.errors import DataError
from miha.rasters.options import ReadOptions
from tests.support.rasters import counted_reads, filled, write

xarray, zarr = pytest.importorskip("xarray"), pytest.importorskip("zarr")
from miha.rasters import zarr_cube  # noqa: E402
from miha.rasters.zarr_cube import write_cube  # noqa: E402

OPTIONS = ReadOptions(nodata=9, grow=1)


def one_by_one(function, items):
    for item in items:
        function(item)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three days of 5 x 6 pixels in chunks of two days and four pixels a side."""
    monkeypatch.setattr(zarr_cube, "DAYS", 2)
    monkeypatch.setattr(zarr_cube, "SIDE", 4)
    for day in (3, 1, 2):
        values = np.arange(30, dtype=np.uint16).reshape(5, 6) + 100 * day
        values[1, day : day + 2] = 0
        source = write(tmp_path / f"in/2021050{day}.tif", values, nodata=0, scale=0.5, offset=200)
        filled(source, tmp_path / "out", 240 + day, OPTIONS)
    return tmp_path / "out"


def test_of_a_folder_in_which_no_day_could_be_filled_there_is_no_cube(tmp_path):
    assert write_cube(tmp_path, OPTIONS, one_by_one) is None
    assert not any(tmp_path.iterdir())


def test_a_cube_holds_values_deviations_and_sources_of_all_days_and_where_they_lie(folder):
    cube = xarray.open_zarr(write_cube(folder, OPTIONS, one_by_one), decode_coords="all", mask_and_scale=False)
    assert cube.value.dims == cube["std"].dims == cube.source.dims == ("time", "y", "x")
    assert [str(when)[:10] for when in cube.time.values] == ["2021-05-01", "2021-05-02", "2021-05-03"]
    for at, day in enumerate((1, 2, 3)):
        with rasterio.open(folder / f"2021050{day}.tif") as raster:
            values = raster.read(1) * 0.5 + 200
            assert (cube.x.values[2], cube.y.values[3]) == raster.xy(3, 2)
            crs = raster.crs
        with rasterio.open(folder / f"2021050{day}_source.tif") as raster:
            source = raster.read(1)
        assert np.array_equal(cube.value.values[at], values)
        assert np.array_equal(cube.source.values[at], source)
        assert np.array_equal(cube["std"].values[at], np.where(source == 1, np.float32(0.5), np.nan), equal_nan=True)
    with rasterio.open(f'ZARR:"{folder / "cube.zarr"}":/value') as raster:
        assert np.array_equal(raster.read(), cube.value.values)
        assert (raster.crs, tuple(raster.transform)[:6]) == (crs, (10, 0, 0, 0, -10, 0))
    assert cube.value.attrs["units"] == "K"
    assert cube.spatial_ref.attrs["grid_mapping_name"] == "transverse_mercator"
    assert rasterio.CRS.from_wkt(cube.spatial_ref.attrs["crs_wkt"]) == crs
    assert (cube.x.attrs["standard_name"], cube.y.attrs["units"]) == ("projection_x_coordinate", "metre")


def test_scenes_of_two_grids_make_no_cube(folder):
    filled(write(folder.parent / "in/20210504.tif", np.ones((5, 7), np.uint16)), folder, 240)
    with pytest.raises(DataError, match=r"20210504.tif does not fit 20210501.tif: its shape is 5x7, not 5x6"):
        write_cube(folder, OPTIONS, one_by_one)
    assert not (folder / "cube.zarr").exists()


def test_no_pixel_is_read_for_what_a_cube_says_of_itself(folder):
    with counted_reads() as reads:
        write_cube(folder, OPTIONS, lambda function, items: None)
    assert set(reads.values()) == {0}


def test_a_cube_is_written_anew_only_when_its_files_have_changed(folder):
    written = []

    def counted(function, items):
        written.append(len(items))
        one_by_one(function, items)

    write_cube(folder, OPTIONS, counted)
    write_cube(folder, OPTIONS, counted)
    assert written == [2]
    for path in folder.glob("20210503*"):
        path.unlink()
    cube = xarray.open_zarr(write_cube(folder, OPTIONS, counted))
    assert written == [2, 1]
    assert len(cube.time) == 2
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".tif") == ["cube.zarr"]


def test_where_a_cloud_stayed_a_cube_shows_nothing(tmp_path):
    values, cloudy, expected = np.full((3, 4), 300.0), np.eye(3, 4), np.full((3, 4), 285.0)
    reading = ReadOptions(clear={"band": 2, "values": [0]})
    expected[1, 1] = np.nan
    filled(write(tmp_path / "20210501.tif", np.stack([values, cloudy])), tmp_path / "out", expected, reading)
    cube = xarray.open_zarr(write_cube(tmp_path / "out", reading, one_by_one), mask_and_scale=False)
    assert cube.source.values[0].tolist() == [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]]
    assert np.array_equal(cube.value.values[0], np.where(cloudy, expected, values), equal_nan=True)
