from datetime import date

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint

from miha.errors import DataError
from miha.rasters.stack import ReadOptions, read_scene, read_stack
from tests.support.rasters import GRID, write


def test_gaps_are_the_files_nodata_nan_and_a_configured_code(tmp_path):
    values = GRID.copy()
    values[0, :3] = -1, np.nan, -2
    path = write(tmp_path / "20200101.tif", values, nodata=-1)
    assert read_scene(path).gaps.sum() == 2
    scene = read_scene(path, ReadOptions(nodata=-2))
    assert scene.gaps[0].tolist() == [True, True, True, False]
    assert np.array_equal(scene.values[1:], GRID[1:])


def test_several_codes_are_gaps_and_some_of_them_stay(tmp_path):
    path = write(tmp_path / "20200101.tif", np.array([[252, 253, 254, 255], [1, 2, 3, 4]], np.uint8), nodata=255)
    scene = read_scene(path, ReadOptions(nodata=[252, 253], keep=254))
    assert scene.gaps.tolist() == [[True] * 4, [False] * 4]
    assert scene.kept.tolist() == [[False, False, True, False], [False] * 4]
    assert read_scene(path, ReadOptions(keep=[255])).kept[0].tolist() == [False, False, False, True]


def test_scale_and_offset_tags_are_honoured(tmp_path):
    stored = np.array([[0, 15000], [15001, 65535]], np.uint16)
    scene = read_scene(write(tmp_path / "a.tif", stored, nodata=0, scale=0.02, offset=1.0))
    assert np.isnan(scene.values[0, 0])
    assert scene.values[0, 1] == pytest.approx(301.0)
    assert scene.values[1].tolist() == pytest.approx([301.02, 1311.7])
    assert scene.unit == "K"


def test_another_band_is_read_when_asked_for(tmp_path):
    path = write(tmp_path / "a.tif", np.stack([GRID, GRID + 1]))
    assert np.array_equal(read_scene(path, ReadOptions(band=2)).values, GRID + 1)
    with pytest.raises(DataError, match=r"a\.tif has 2 bands, so there is no band 3"):
        read_scene(path, ReadOptions(band=3))


def test_complex_numbers_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", GRID.astype(np.complex64))
    with pytest.raises(DataError, match=r"a\.tif holds complex numbers\. Write what is to be filled"):
        read_scene(path)


def test_a_scale_of_zero_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", GRID, scale=0.0)
    with pytest.raises(DataError, match=r"a\.tif has scale 0, so all its values are equal"):
        read_scene(path)


def test_a_missing_file_and_a_folder_are_told_apart_from_a_damaged_raster(tmp_path):
    with pytest.raises(DataError, match=r"a\.tif does not exist\. Check the name"):
        read_scene(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"is a folder\. Name its scenes"):
        read_scene(tmp_path)


def test_a_file_that_is_no_raster_or_truncated_is_named(tmp_path):
    (tmp_path / "note.tif").write_text("no raster")
    with pytest.raises(DataError, match=r"note\.tif cannot be read as a raster"):
        read_scene(tmp_path / "note.tif")
    path = write(tmp_path / "cut.tif", np.random.default_rng(0).random((200, 200)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"cut\.tif cannot be read as a raster"):
        read_scene(path)


def test_a_stack_is_in_the_order_of_its_dates(tmp_path):
    for day, value in (("20200103", 3), ("20190101", 1), ("20200102", 2)):
        write(tmp_path / f"z{day}.tif", np.full((3, 4), value, np.float32))
    stack = read_stack(tmp_path)
    assert stack.values[:, 0, 0].tolist() == [1, 2, 3]
    assert stack.dates[0] == date(2019, 1, 1)
    assert len(stack.without(date(2020, 1, 2))) == 2


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"values": GRID[:2]}, "its shape is 2x4, not 3x4"),
        ({"values": GRID, "crs": "EPSG:4326"}, "its CRS is EPSG:4326, not EPSG:32630"),
        ({"values": GRID, "crs": None}, "its CRS is missing"),
        ({"values": GRID, "west": 5.0}, "its transform is"),
        ({"values": np.stack([GRID, GRID])}, "it has 2 bands, not 1"),
    ],
)
def test_a_scene_on_another_grid_is_named_with_the_difference(tmp_path, other, difference):
    write(tmp_path / "20200101.tif", GRID)
    write(tmp_path / "20200102.tif", **other)
    with pytest.raises(DataError, match=rf"20200102\.tif does not fit 20200101\.tif: {difference}"):
        read_stack(tmp_path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_scenes_that_lie_by_control_points_must_have_the_same_ones(tmp_path):
    for day, west in enumerate((-3.7, -3.7, -3.6), start=1):
        corners = [(0, 0, west, 40.7), (0, 4, -3.2, 40.7), (3, 0, west, 40.3)]
        with rasterio.open(write(tmp_path / f"2020010{day}.tif", GRID, crs=None), "r+") as raster:
            raster.gcps = [GroundControlPoint(*corner) for corner in corners], rasterio.CRS.from_epsg(4326)
    with pytest.raises(
        DataError, match=r"20200103\.tif does not fit 20200101\.tif: it has other ground control points"
    ):
        read_stack(tmp_path)
    (tmp_path / "20200103.tif").unlink()
    assert len(read_stack(tmp_path)) == 2


@pytest.mark.parametrize("target", ["20200102.tif", "nowhere.tif"])
def test_a_link_that_leads_to_no_file_is_left_out_with_a_warning(tmp_path, caplog, target):
    write(tmp_path / "20200101.tif", GRID)
    (tmp_path / "20200102.tif").symlink_to(target)
    assert len(read_stack(tmp_path)) == 1
    assert "20200102.tif is a link that leads to no file. Mend or remove it." in caplog.text


def test_a_scene_without_a_valid_pixel_is_left_out_with_a_warning(tmp_path, caplog):
    write(tmp_path / "20200101.tif", np.full((3, 4), np.nan, np.float32))
    write(tmp_path / "20200102.tif", GRID)
    assert len(read_stack(tmp_path)) == 1
    assert "20200101.tif has no valid pixel" in caplog.text


def test_a_folder_without_scenes_two_scenes_of_a_day_and_only_empty_scenes_are_errors(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_stack(tmp_path / "none")
    with pytest.raises(DataError, match="holds no GeoTIFF"):
        read_stack(tmp_path)
    write(tmp_path / "20200101.tif", np.full((3, 4), np.nan, np.float32))
    with pytest.raises(DataError, match=r"no scene in .* has a valid pixel"):
        read_stack(tmp_path)
    write(tmp_path / "a20200102.tif", GRID)
    write(tmp_path / "b20200102.tif", GRID)
    with pytest.raises(DataError, match=r"b20200102\.tif and a20200102\.tif are both of 2020-01-02"):
        read_stack(tmp_path)
