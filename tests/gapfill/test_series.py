import shutil
from contextlib import nullcontext
from datetime import date, timedelta

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from miha.errors import ConfigError, DataError
from miha.events import Message, observed_by
from miha.gapfill import series as module
from miha.gapfill.between import Between
from miha.gapfill.filler import BaseFiller
from miha.gapfill.options import FillOptions
from miha.gapfill.series import Series, days_of, fill_days, fill_series, missing_days, read_span
from miha.rasters import stack
from miha.rasters.stack import Grid, ReadOptions, Stack, list_rasters, read_date, read_scene, read_stack
from miha.training.workers import working
from tests.support.rasters import counted_reads


@pytest.fixture
def data(simulated, tmp_path):
    """Six days, of which one has no scene, one shows nothing and one shows four pixels."""
    folder = tmp_path / "data"
    shutil.copytree(simulated / "static", folder / "static")
    (folder / "history").mkdir()
    for path in list_rasters(simulated / "history")[:6]:
        shutil.copy(path, folder / "history")
    days = list_rasters(folder / "history")
    days[2].unlink()
    for path, seen in ((days[3], 0), (days[4], 4)):
        with rasterio.open(path, "r+") as raster:
            stored = raster.read(1)
            stored.flat[np.flatnonzero(stored)[seen:]] = raster.nodata
            raster.write(stored, 1)
    return folder


def filled(out):
    return {path.name: path.read_bytes() for path in out.glob("*.tif")}


def test_every_day_is_filled_also_those_without_a_scene_or_a_pixel(data, tmp_path):
    series, events = Series(data=data, out=tmp_path / "out"), []
    days = module.start(series)
    with observed_by(events.append):
        assert fill_days(series, days) == {}
    assert [day.when for day in days] == [days[0].when + timedelta(days=away) for away in range(6)]
    assert [day.blank for day in days] == [away == 2 for away in range(6)]
    seen = ~np.isnan(read_stack(data / "history").values).all(axis=0)
    for day in days:
        values = read_scene(day.target).values
        assert np.isfinite(values[seen]).all()
        if not day.blank:
            before = read_scene(day.source).values
            assert np.array_equal(values[~np.isnan(before)], before[~np.isnan(before)])
    lines = [event.line for event in events if isinstance(event, Message)]
    assert sum("since no scene is of it" in line for line in lines) == 1
    assert sum("since it shows too little" in line for line in lines) == 2
    assert read_date(days[2].target) == days[2].when


@pytest.mark.slow
def test_a_series_continues_and_is_the_same_for_any_number_of_processes(data, tmp_path):
    """Stopped after three days, the last of them half written."""
    whole, part = (Series(data=data, out=tmp_path / name) for name in ("whole", "part"))
    fill_series(whole, working(2))
    days = days_of(part)
    module.start(part)
    fill_days(part, days[:3])
    days[2].target.with_name(f"{days[2].target.stem}_std.tif").unlink()
    stamps = {day.target: day.target.stat().st_mtime_ns for day in days[:2]}
    fill_series(part, working(1))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert filled(part.out) == filled(whole.out)


def test_a_day_is_filled_as_it_would_be_alone(data, tmp_path):
    series = Series(data=data, out=tmp_path / "out", first=date(2021, 5, 2), last=date(2021, 5, 2))
    (day,) = days_of(series)
    fill_days(series, [day])
    alone = BaseFiller(data).fill(day.source, tmp_path / "alone" / day.source.name)
    assert alone.read_bytes() == day.target.read_bytes()


def test_days_that_are_opened_and_not_read_are_decoded_once_for_all(data, tmp_path, monkeypatch):
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    module._filler.cache_clear()
    alone, together = (Series(data=data, out=tmp_path / name) for name in ("alone", "together"))
    fill_days(alone, module.start(alone))
    module.prepare(together, days := module.start(together))
    with counted_reads() as reads:
        fill_days(together, days[:1])
    assert {name for name in reads if name.startswith("history/")} == {f"history/{days[0].source.name}"}
    fill_days(together, days)
    together.filler().finish()
    assert filled(together.out) == filled(alone.out)
    assert not list(together.out.glob(".*"))


def test_a_day_without_a_scene_is_a_geotiff_by_name_too_whatever_the_others_are(data, tmp_path):
    for path in list_rasters(data / "history"):
        rasterio.shutil.copy(shutil.move(path, tmp_path), path.with_suffix(".vrt"), driver="VRT")
    blank = [day.target.name for day in days_of(Series(data=data, out=tmp_path / "out")) if day.blank]
    assert blank == ["20210503.tif"]


def test_a_causal_fill_does_not_know_what_came_after(data, tmp_path):
    when = date(2021, 5, 2)
    one = Series(data=data, out=tmp_path / "one", first=when, last=when, causal=True)
    fill_days(one, days_of(one))
    for path in list_rasters(data / "history"):
        if read_date(path) > when:
            path.unlink()
    other = Series(data=data, out=tmp_path / "other", first=when, last=when, causal=True)
    fill_days(other, days_of(other))
    name = f"{when:%Y%m%d}.tif"
    assert (one.out / name).read_bytes() == (other.out / name).read_bytes()


def test_days_filled_with_other_settings_are_not_mixed(data, tmp_path):
    span = {"first": date(2021, 5, 1), "last": date(2021, 5, 1)}
    series = Series(data=data, out=tmp_path / "out", **span)
    fill_days(series, module.start(series))
    with pytest.raises(ConfigError, match=r"other settings\. Choose another --out"):
        module.start(Series(data=data, out=tmp_path / "out", causal=True, **span))


def test_damaged_settings_of_days_that_were_filled_are_named(data, tmp_path):
    series = Series(data=data, out=tmp_path / "out", first=date(2021, 5, 1), last=date(2021, 5, 1))
    fill_days(series, module.start(series))
    (series.out / module.SETTINGS).write_text("{")
    with pytest.raises(ConfigError, match=r"series\.json .*Choose another --out"):
        module.start(series)


def test_a_day_between_two_lies_between_them():
    rows = np.linspace(0, 5, 20 * 24).reshape(20, 24)
    values = np.stack([280 + rows + 2 * day for day in range(9)]).astype(np.float32)
    dates = tuple(date(2020, 1, 1) + timedelta(days=day) for day in range(9) if day != 4)
    stack = Stack(np.delete(values, 4, axis=0), dates, Grid(20, 24, "", (), 1), "K")
    between = Between(stack, date(2020, 1, 5)).fill((slice(0, 20), slice(0, 24)))
    assert np.abs(between.mean - values[4]).max() < 0.1
    assert (between.std > 0).all()


def test_days_are_missing_only_from_a_regular_series():
    first = date(2020, 1, 1)
    daily = [first + timedelta(days=day) for day in (0, 1, 2, 4, 5)]
    assert missing_days(daily) == [date(2020, 1, 4)]
    landsat = [first + timedelta(days=day) for day in (0, 16, 32, 64)]
    assert missing_days(landsat) == [first + timedelta(days=48)]
    assert missing_days(daily[:2]) == []


def test_no_day_is_missing_from_dekads_months_or_days_at_irregular_steps():
    dekads = [date(2021, month, day) for month in range(1, 6) for day in (1, 11, 21)]
    months = [date(2021, month, 1) for month in range(4, 9)]
    ends = [date(2021, month, day) for month, day in ((1, 31), (2, 28), (3, 31), (4, 30), (5, 31))]
    irregular = [date(2021, 1, 1) + timedelta(days=away) for away in (0, 3, 8, 11, 16, 19, 24)]
    for taken in (dekads, months, ends, irregular):
        assert missing_days(taken) == []


@pytest.mark.parametrize("gone", [1, 4, 5, 11])
def test_a_dekad_or_a_month_that_is_missing_has_the_day_of_the_month_of_the_others(gone):
    dekads = [date(2021, month, day) for month in range(1, 6) for day in (1, 11, 21)]
    months = [date(2020 + number // 12, number % 12 + 1, 15) for number in range(15)]
    for taken in (dekads, months):
        assert missing_days([*taken[:gone], *taken[gone + 1 :]]) == [taken[gone]]


def test_composites_that_begin_anew_each_year_lack_only_what_is_missing():
    taken = [date(year, 1, 1) + timedelta(days=away) for year in (2020, 2021) for away in range(0, 365, 8)]
    assert missing_days(taken) == []
    assert missing_days([when for when in taken if when != taken[45]]) == [taken[45]]


@pytest.mark.parametrize("text", ["yesterday", "2020-01-01/2019-01-01", "2020-13-01"])
def test_a_span_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--dates"):
        read_span(text)
    assert read_span("all") == (None, None)
    assert read_span("2020-01-01/2020-02-01") == (date(2020, 1, 1), date(2020, 2, 1))


def test_a_series_has_a_catalogue_which_can_be_asked_for_later(data, tmp_path):
    """Filled without one at first; then the files stay, and what is missing is added."""
    pystac = pytest.importorskip("pystac", reason="needs the extra stac")
    span = {"data": data, "out": tmp_path / "out", "first": date(2021, 5, 2), "last": date(2021, 5, 4)}
    plain = Series(**span)
    fill_series(plain, nullcontext())
    before = filled(plain.out)
    series, events = Series(**span, options=FillOptions(stac=True)), []
    with observed_by(events.append):
        assert fill_series(series, nullcontext()) == {}
    assert filled(plain.out) == before
    days, collection = days_of(series), pystac.Collection.from_file(tmp_path / "out/collection.json")
    items = list(collection.get_items())
    assert [item.datetime.date() for item in items] == [day.when for day in days]
    assert days[1].blank
    assert all(item.get_collection().id == collection.id for item in items)
    days[0].target.unlink()
    with observed_by(events.append):
        fill_series(series, nullcontext())
    assert filled(plain.out) == before
    assert any("; 2 are done" in event.line for event in events if isinstance(event, Message))


def test_a_catalogue_takes_the_place_of_no_other_file(data, tmp_path):
    pytest.importorskip("pystac", reason="needs the extra stac")
    series = Series(data=data, out=tmp_path / "out", options=FillOptions(stac=True))
    series.out.mkdir()
    (series.out / "collection.json").write_text("mine")
    with pytest.raises(DataError, match=r"collection\.json exists and was not written by MIHA"):
        fill_series(series, nullcontext())
    assert (series.out / "collection.json").read_text() == "mine"
    assert not filled(series.out)


def test_a_series_can_become_one_cube(data, tmp_path):
    """Gaps that grew are not cut out of it again, but for what was left of them."""
    xarray = pytest.importorskip("xarray", reason="needs the extra xarray")
    series = Series(data=data, out=tmp_path / "out", method="eof", reading=ReadOptions(grow=1), zarr=True)
    assert fill_series(series, nullcontext()) == {}
    cube = xarray.open_zarr(tmp_path / "out/cube.zarr", mask_and_scale=False)
    days = days_of(series)
    assert len(cube.time) == len(days)
    for at, day in enumerate(days):
        filled = np.where(cube.source.values[at] == 2, np.nan, read_scene(day.target).values)
        assert np.array_equal(cube.value.values[at], filled, equal_nan=True)
