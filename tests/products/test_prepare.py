"""What preparing a stack does with scenes of any grid, several of a day, and with what is wrong."""

import logging
import shutil
import tarfile
from datetime import date

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from miha.errors import ConfigError, DataError, RunError
from miha.events import Message, observed_by
from miha.locking import held
from miha.products.grid import GridChoice
from miha.products.hours import read_hours
from miha.products.prepare import prepare
from miha.products.product import parse_product, read_product
from miha.products.record import StackRecord
from miha.rasters.stack import read_scene, read_stack
from tests.support.downloads import mod11a1, raster

VALUES = np.arange(48, dtype=np.float32).reshape(6, 8) + 280
GLOBE = from_origin(-180, 90, 10, 10)
PLACE = from_origin(500_000, 4_400_000, 10, 10)
CLEAR = """
name: mine
title: t
files: "{name}_{date:%Y%m%d}.tif"
clear: {file: "{name}_{date:%Y%m%d}_qc.img", values: [0]}
""".replace("{name}", "{kind}")


def write(folder, day, values=VALUES, transform=PLACE, **options):
    return raster(folder / f"scene_{day}.tif", values, transform=transform, nodata=-9999, **options)


def values_of(out, day):
    return read_scene(out / "history" / f"{day}.tif").values


def generic(raw, out, **options):
    return prepare([str(raw)], read_product("generic"), out, **options)


def bytes_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_record_says_what_each_day_is_made_of_and_how_much_it_shows(tmp_path):
    half = VALUES.copy()
    half[:3] = -9999
    write(tmp_path / "raw", "20200703"), write(tmp_path / "raw", "20200704", half)
    before = bytes_of(tmp_path / "raw")
    record = generic(tmp_path / "raw", tmp_path / "data")
    assert [(day.date, day.valid) for day in record.days] == [(date(2020, 7, 3), 1.0), (date(2020, 7, 4), 0.5)]
    assert record.days[1].sources == (str(tmp_path / "raw" / "scene_20200704.tif"),)
    assert record == StackRecord.model_validate_json((tmp_path / "data" / "stack.json").read_text())
    assert (record.grid.crs, record.grid.transform[:3]) == ("EPSG:32630", (10, 0, 500_000))
    assert bytes_of(tmp_path / "raw") == before
    again = bytes_of(tmp_path / "data")
    generic(tmp_path / "raw", tmp_path / "data")
    assert bytes_of(tmp_path / "data") == again


TIMED = """
name: passes
title: t
files: "scene_{date:%Y%m%dT%H%M}.tif"
"""


@pytest.mark.parametrize(("hours", "expected"), [("09:00/13:00", [0, 10]), ("20:00/04:00", [5, 15])])
def test_passes_of_a_day_are_kept_apart_by_their_times(tmp_path, hours, expected):
    for number, when in enumerate(["20200703T1000", "20200703T2130", "20200704T1259", "20200704T0130"]):
        write(tmp_path / "raw", when, VALUES + 5 * number)
    events = []
    with observed_by(events.append):
        record = prepare([str(tmp_path / "raw")], parse_product(TIMED, "mine"), tmp_path, hours=read_hours(hours))
    assert record.hours == hours
    assert Message(f"2 of 4 scenes are of {hours}") in events
    for day, added in zip(("2020-07-03", "2020-07-04"), expected, strict=True):
        assert np.array_equal(values_of(tmp_path, day), VALUES + added)


def test_hours_that_no_scene_is_of_or_that_names_do_not_tell_are_reported(tmp_path):
    write(tmp_path / "raw", "20200703T1000")
    with pytest.raises(DataError, match="no scene is of 11:00/12:00; there are such of 10:00 to 10:00"):
        prepare([str(tmp_path / "raw")], parse_product(TIMED, "t"), tmp_path, hours=read_hours("11:00/12:00"))
    with pytest.raises(ConfigError, match=r"the time of .*T1000.tif cannot be read. Put \{date:%Y%m%dT%H%M\}"):
        generic(tmp_path / "raw", tmp_path, hours=read_hours("11:00/12:00"))
    for mistake in ("11", "11:00/11:00", "11:00/25:00"):
        with pytest.raises(ConfigError, match="give two times of day"):
            read_hours(mistake)


def test_static_layers_beside_a_stack_stay_when_it_is_prepared_anew(tmp_path):
    write(tmp_path / "raw", "20200703")
    generic(tmp_path / "raw", tmp_path / "data")
    write(tmp_path / "data" / "static", "elevation")
    write(tmp_path / "raw", "20200704")
    generic(tmp_path / "raw", tmp_path / "data")
    assert (tmp_path / "data" / "static" / "scene_elevation.tif").exists()
    assert len(read_stack(tmp_path / "data" / "history")) == 2


def test_what_a_killed_process_left_half_written_goes_and_two_do_not_write_one_stack(tmp_path):
    write(tmp_path / "raw", "20200703")
    (tmp_path / "data" / ".unfinished-history-0a1b" / ".work-2c3d").mkdir(parents=True)
    generic(tmp_path / "raw", tmp_path / "data")
    files = {path.name for path in (tmp_path / "data").iterdir()}
    assert files == {".lock", "history", "stack.json", "stack.html"}
    with held(tmp_path / "data", "wait."), pytest.raises(RunError, match="is in use by process"):
        generic(tmp_path / "raw", tmp_path / "data")


def test_another_extent_is_shifted_by_whole_pixels_and_no_value_changes(tmp_path):
    write(tmp_path / "raw", "20200703")
    write(tmp_path / "raw", "20200704", transform=from_origin(500_020, 4_400_010, 10, 10))
    generic(tmp_path / "raw", tmp_path / "data")
    values = values_of(tmp_path / "data", "2020-07-04")
    assert np.array_equal(values[:5, 2:], VALUES[1:, :6])
    assert np.isnan(values[5]).all()
    assert np.isnan(values[:, :2]).all()


def test_coordinates_that_an_archive_rounded_are_one_grid(tmp_path):
    write(tmp_path / "raw", "20200703")
    write(tmp_path / "raw", "20200704", transform=from_origin(500_000.02, 4_400_000, 10.00001, 10))
    generic(tmp_path / "raw", tmp_path / "data")
    assert np.array_equal(values_of(tmp_path / "data", "2020-07-04"), VALUES)


def test_a_scene_of_another_crs_is_warped_and_no_cloud_is_mixed_into_what_is_clear(tmp_path):
    _rows, columns = np.mgrid[:40, :40]
    plane = (290 + 0.1 * columns).astype(np.float32)
    write(tmp_path / "raw", "20200703", plane)
    with rasterio.open(tmp_path / "raw" / "scene_20200703.tif") as first:
        bounds = rasterio.warp.transform_bounds(first.crs, "EPSG:4326", *first.bounds)
    cloudy = np.where(columns < 20, -5000.0, 300).astype(np.float32)
    place = rasterio.transform.from_bounds(*bounds, 40, 40)
    raster(tmp_path / "raw" / "scene_20200704.tif", cloudy, crs="EPSG:4326", transform=place)
    raster(tmp_path / "raw" / "scene_20200704_qc.img", (cloudy < 0).astype(np.uint8), crs="EPSG:4326", transform=place)
    raster(tmp_path / "raw" / "scene_20200703_qc.img", np.zeros((40, 40), np.uint8), transform=PLACE)
    prepare([str(tmp_path / "raw")], parse_product(CLEAR, "mine"), tmp_path / "data")
    assert np.array_equal(values_of(tmp_path / "data", "2020-07-03"), plane)
    values = values_of(tmp_path / "data", "2020-07-04")
    assert 0.4 < np.isnan(values).mean() < 0.6
    np.testing.assert_allclose(values[~np.isnan(values)], 300, atol=1e-3)


def test_the_grid_can_be_that_of_a_raster_or_be_given(tmp_path):
    write(tmp_path / "raw", "20200703")
    like = write(tmp_path, "like", VALUES[:2, :2], transform=from_origin(500_010, 4_399_990, 10, 10))
    generic(tmp_path / "raw", tmp_path / "like", choice=GridChoice(like=like))
    assert np.array_equal(values_of(tmp_path / "like", "2020-07-03"), VALUES[1:3, 1:3])
    choice = GridChoice(bounds=(500_013, 4_399_970, 500_040, 4_399_990))
    record = generic(tmp_path / "raw", tmp_path / "cut", choice=choice)  # whole pixels of the first scene
    assert np.array_equal(values_of(tmp_path / "cut", "2020-07-03"), VALUES[1:3, 1:4])
    assert record.grid.transform[:3] == (10, 0, 500_010)
    choice = GridChoice(crs="EPSG:4326", resolution=0.0001)
    assert generic(tmp_path / "raw", tmp_path / "wgs", choice=choice).grid.crs == "EPSG:4326"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"crs": "EPSG:99"}, "--crs EPSG:99 is unknown"),
        ({"resolution": 1e-6}, r"the grid would have \d+x\d+ pixels"),
        ({"bounds": (5, 5, 4, 6)}, r"--bounds \(5, 5, 4, 6\): give west, south, east, north"),
        ({"like": "x.tif", "crs": "EPSG:4326"}, "--like takes the whole grid of a raster"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(tmp_path, given, reason):
    write(tmp_path / "raw", "20200703")
    with pytest.raises(ConfigError, match=reason):
        generic(tmp_path / "raw", tmp_path / "data", choice=GridChoice(**given))
    assert not (tmp_path / "data" / "history").exists()


@pytest.mark.parametrize(
    ("daily", "expected"),
    [("first", [1, 1, 20, np.nan]), ("mean", [1, 5.5, 20, np.nan]), ("best", [1, 10, 20, np.nan])],
)
def test_several_scenes_of_a_day_are_combined_as_the_option_says(tmp_path, daily, expected):
    few, more = (np.repeat(np.array([row], np.float32), 3, 0) for row in ([1, 1, -9999, -9999], [-9999, 10, 20, -9999]))
    few[1, 0] = -9999
    write(tmp_path / "raw", "20200703T101000", few), write(tmp_path / "raw", "20200703T115500", more)
    record = generic(tmp_path / "raw", tmp_path / "data", daily=daily)
    np.testing.assert_array_equal(values_of(tmp_path / "data", "2020-07-03")[0], expected)
    assert len(record.days[0].sources) == 2


def test_a_scene_that_cannot_be_used_is_left_out_with_a_warning_or_refused_where_strict(tmp_path, caplog):
    raw = mod11a1(tmp_path / "raw", days=5, size=32)
    cut = raw / "MOD11A1.061_LST_Day_1km_doy2020186_aid0001.tif"
    cut.write_bytes(cut.read_bytes()[:700])
    (raw / "MOD11A1.061_QC_Day_doy2020187_aid0001.tif").unlink()
    (raw / "MOD11A1.061_QC_Day_doy2020188_aid0001.tif").write_text("no raster")
    product = read_product("mod11a1")
    with caplog.at_level(logging.WARNING):
        record = prepare([str(raw)], product, tmp_path / "data")
    assert [day.date.day for day in record.days] == [3, 7]
    assert [one.file for one in record.left_out] == [
        str(raw / f"MOD11A1.061_LST_Day_1km_doy2020{day}_aid0001.tif") for day in (186, 187, 188)
    ]
    assert "doy2020186_aid0001.tif cannot be read: " in caplog.text
    assert "doy2020187_aid0001.tif has no quality layer M[OY]D11A1" in caplog.text
    before = bytes_of(tmp_path / "data")
    with pytest.raises(DataError, match=r"doy2020186_aid0001\.tif cannot be read"):
        prepare([str(raw)], product, tmp_path / "data", strict=True)
    assert bytes_of(tmp_path / "data") == before


def test_where_strict_nothing_is_made_of_a_download_of_which_something_is_unusable(tmp_path):
    write(tmp_path / "raw", "20200703"), write(tmp_path / "raw", "a")
    events = []
    with observed_by(events.append), pytest.raises(DataError, match=r"the day of .*scene_a\.tif cannot be read"):
        generic(tmp_path / "raw", tmp_path / "data", strict=True)
    assert not events


def test_a_scene_with_two_quality_layers_is_left_out(tmp_path):
    write(tmp_path / "raw", "20200703"), write(tmp_path / "raw", "20200704")
    for name in ("a/scene_20200703_qc.img", "b/scene_20200703_qc.img", "a/scene_20200704_qc.img"):
        raster(tmp_path / "raw" / name, np.zeros(VALUES.shape, np.uint8), transform=PLACE)
    record = prepare([str(tmp_path / "raw")], parse_product(CLEAR, "mine"), tmp_path / "data")
    assert [day.date.day for day in record.days] == [4]
    assert "scene_20200703.tif has several files {kind}_{date:%Y%m%d}_qc.img: " in record.left_out[0].reason


def test_of_a_day_with_several_scenes_those_that_can_be_read_are_used(tmp_path):
    write(tmp_path / "raw", "20200703T101000").write_text("no raster")
    write(tmp_path / "raw", "20200703T115500")
    record = generic(tmp_path / "raw", tmp_path / "data")
    assert (record.days[0].valid, len(record.days[0].sources), len(record.left_out)) == (1.0, 1, 1)


def test_a_scene_beside_the_grid_is_left_out(tmp_path):
    write(tmp_path / "raw", "20200703")
    write(tmp_path / "raw", "20200704", transform=from_origin(900_000, 4_400_000, 10, 10))
    record = generic(tmp_path / "raw", tmp_path / "data")
    assert "scene_20200704.tif lies outside the grid" in record.left_out[0].reason


@pytest.mark.parametrize("west", [300_000, 600_000])
def test_a_raster_of_the_globe_covers_every_grid_and_a_grid_of_the_globe_every_raster(tmp_path, west):
    place = from_origin(west, 4_400_000, 10, 10)
    globe = raster(tmp_path / "globe" / "20200703.tif", np.ones((18, 36)), crs="EPSG:4326", transform=GLOBE)
    grid = GridChoice(like=write(tmp_path / "raw", "20200703", transform=place))
    record = generic(tmp_path / "globe", tmp_path / "zone", choice=grid)
    assert (record.days[0].valid, record.left_out) == (1.0, ())
    assert generic(tmp_path / "raw", tmp_path / "whole", choice=GridChoice(like=globe)).left_out == ()


def test_a_grid_that_shows_more_than_the_globe_is_beside_no_raster_of_it(tmp_path):
    raster(tmp_path / "raw" / "20200703.tif", np.ones((18, 36)), crs="EPSG:4326", transform=GLOBE)
    disk = GridChoice(crs="+proj=geos +h=35785831", resolution=5e5, bounds=(-6e6, -6e6, 6e6, 6e6))
    (day,) = generic(tmp_path / "raw", tmp_path / "data", choice=disk).days
    assert 0.5 < day.valid < 0.8


@pytest.mark.parametrize(
    ("prepared", "reason"),
    [
        (lambda raw: raw.mkdir(), "none of 0 files is a scene of this product: wanted are .*there are none at all"),
        (lambda raw: write(raw, "a"), "the day of .*scene_a.tif cannot be read: put {date"),
        (lambda raw: write(raw, "20200703").write_text("x"), r"scene_20200703\.tif cannot be read: .*not recognized"),
        (lambda raw: None, "raw is not there"),
        (lambda raw: (raw.mkdir(), (raw / "a.zip").write_text("x")), r"a\.zip cannot be read as an archive"),
        (
            lambda raw: (raw.mkdir(), (raw / "20200703.tif").write_bytes(b"\x0e\x03\x13\x01")),
            "20200703.tif cannot be read",
        ),
    ],
)
def test_a_download_without_one_usable_scene_is_refused_and_nothing_is_written(tmp_path, prepared, reason):
    prepared(tmp_path / "raw")
    with pytest.raises(DataError, match=reason):
        generic(tmp_path / "raw", tmp_path / "data")
    assert {path.name for path in (tmp_path / "data").glob("*")} <= {".lock"}


def test_no_file_of_the_product_is_reported_with_what_was_looked_for_and_what_is_there(tmp_path):
    write(tmp_path / "raw", "20200703")
    with pytest.raises(DataError, match=r"none of 1 file .*wanted are M\[OY\]D11A1.*there are scene_20200703\.tif"):
        prepare([str(tmp_path / "raw")], read_product("mod11a1"), tmp_path / "data")


def test_a_folder_that_miha_did_not_write_is_not_replaced_nor_one_that_is_read(tmp_path):
    write(tmp_path / "raw" / "history", "20200703")
    with pytest.raises(DataError, match=r"raw holds .*which is to be read\. Choose another --out"):
        generic(tmp_path / "raw", tmp_path / "raw")
    write(tmp_path / "full" / "history", "20200703")
    with pytest.raises(DataError, match=r"history exists and was not written by MIHA"):
        generic(tmp_path / "raw", tmp_path / "full")


def test_archives_lists_and_loops_of_links_are_read(tmp_path):
    write(tmp_path / "raw", "20200703"), write(tmp_path / "raw", "20200704"), write(tmp_path / "raw", "20200705")
    (tmp_path / "raw" / "loop").symlink_to(tmp_path / "raw")
    with tarfile.open(tmp_path / "raw" / "more.tar", "w") as tape:
        tape.add(tmp_path / "raw" / "scene_20200705.tif", "deep/scene_20200706.tif")
    (tmp_path / "list.txt").write_text(f"# two\n{tmp_path}/raw/scene_20200703.tif\n{tmp_path}/raw/more.tar\n")
    assert len(generic(tmp_path / "raw", tmp_path / "all").days) == 4
    assert [day.date.day for day in generic(tmp_path / "list.txt", tmp_path / "listed").days] == [3, 6]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_hidden_files_in_an_archive_are_passed_over(tmp_path, kind):
    """As macOS puts one beside each file, with its attributes."""
    path = write(tmp_path / "20200703" / "s", "20200703")
    path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    shutil.make_archive(tmp_path / "raw", kind, tmp_path / "20200703")
    record = prepare([str(tmp_path / f"raw.{kind}")], read_product("generic"), tmp_path / "data", strict=True)
    assert [len(day.sources) for day in record.days] == [1]


def test_virtual_rasters_and_names_with_spaces_are_read(tmp_path):
    path = write(tmp_path / "deep folder", "20200703 ñ")
    source = f'<SimpleSource><SourceFilename relativeToVRT="0">{path}</SourceFilename></SimpleSource>'
    (tmp_path / "20200704.vrt").write_text(
        f'<VRTDataset rasterXSize="8" rasterYSize="6"><SRS>EPSG:32630</SRS><GeoTransform>500000, 10, 0, 4400000, 0, -10'
        f'</GeoTransform><VRTRasterBand dataType="Float32" band="1">{source}</VRTRasterBand></VRTDataset>'
    )
    record = generic(tmp_path, tmp_path / "out")
    assert [day.valid for day in record.days] == [1.0, 1.0]


def test_numbers_that_the_stack_cannot_hold_are_missing(tmp_path):
    text = "name: n\ntitle: t\nfiles: '*.tif'\nstore: {dtype: int16, scale: 0.01, offset: 280, nodata: -32768}\n"
    write(tmp_path / "raw", "20200703", np.array([[290.123, 1000, -48]], np.float32))
    prepare([str(tmp_path / "raw")], parse_product(text, "n"), tmp_path / "data")
    values = values_of(tmp_path / "data", "2020-07-03")[0]
    assert values[0] == pytest.approx(290.12)
    assert np.isnan(values[1:]).all()
