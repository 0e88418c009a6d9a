import shutil
from datetime import timedelta

import numpy as np
import pytest
import rasterio

from bench.cube import linear
from bench.stacks import stack
from miha.errors import DataError
from miha.events import Message, observed_by
from miha.gapfill import series as running
from miha.gapfill.dayfiller import Day
from miha.gapfill.eof import filler as module
from miha.gapfill.series import Series, days_of, fill_series
from miha.rasters.stack import ReadOptions, list_rasters, read_date, read_scene, read_stack
from miha.training.workers import working


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twenty-four days of 48 x 48 pixels around one that is held out; another one has no scene, one shows nothing."""
    folder = stack(tmp_path_factory.mktemp("eof") / "data", 24, 48)
    days = list_rasters(folder / "history")
    days[5].unlink()
    with rasterio.open(days[9], "r+") as raster:
        raster.write(np.zeros(raster.shape, np.uint16), 1)
    return folder


def filled(data, out, **settings):
    """Filled in this process."""
    series = Series(data=data, out=out, method="eof", **settings)
    days = running.start(series)
    running.prepare(series, days)
    assert running.fill_days(series, days) == {}
    return series


def contents(out):
    return {path.name: path.read_bytes() for path in out.glob("*.tif")}


def test_every_day_is_filled_with_a_deviation_and_what_was_observed_stays(data, tmp_path):
    series, messages = Series(data=data, out=tmp_path / "out", method="eof"), []
    assert fill_series(series, working(1)) == {}
    days = days_of(series)
    seen = ~np.isnan(read_stack(data / "history").values).all(axis=0)
    for day in days:
        values, std = read_scene(day.target).values, read_scene(tmp_path / "out" / f"{day.target.stem}_std.tif").values
        before = np.full_like(values, np.nan) if day.blank else read_scene(day.source).values
        observed = ~np.isnan(before)
        assert np.isfinite(values[seen]).all()
        assert np.array_equal(values[observed], before[observed])
        assert np.array_equal(std > 0, seen & ~observed)
    assert sum(day.blank for day in days) == 2
    assert not (tmp_path / "out" / module.FOLDER).exists()
    with observed_by(messages.append):
        fill_series(series, working(1))
    assert next(event.line for event in messages if isinstance(event, Message)).endswith(f"{len(days)} are done")


def test_it_errs_less_than_interpolation_in_time_and_knows_by_how_much(data, tmp_path):
    """The held-out day joins the history with its gap."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    (gapped,) = list_rasters(data / "gapped")
    shutil.copy(gapped, folder / "history")
    when = read_date(gapped)
    filled(folder, tmp_path / "out", first=when, last=when)
    values, std = (read_scene(tmp_path / "out" / name).values for name in (gapped.name, f"{gapped.stem}_std.tif"))
    truth, days = read_scene(data / "truth" / gapped.name).values, read_stack(folder / "history")
    gap = np.isnan(read_scene(gapped).values) & ~np.isnan(truth)
    error = np.abs(values - truth)[gap]
    assert error.mean() < 0.6 * np.nanmean(np.abs(linear(days.values)[days.dates.index(when)] - truth)[gap])
    assert 0.65 < (error < 1.28 * std[gap]).mean() < 0.92


def test_parts_join_without_a_border(data, tmp_path, monkeypatch):
    filled(data, tmp_path / "whole")
    monkeypatch.setattr(module, "PART", 1000)
    monkeypatch.setattr(module, "SIDE", 16)
    monkeypatch.setattr("miha.gapfill.eof.fit.VALUES", 5000)
    filled(data, tmp_path / "parts")
    for path in list_rasters(tmp_path / "whole"):
        one, other = (read_scene(tmp_path / name / path.name).values for name in ("whole", "parts"))
        step = 1e-3 if path.stem.endswith("_std") else 0.021  # what stored numbers differ by
        assert np.allclose(one, other, atol=step, equal_nan=True)
        assert (np.nan_to_num(one) == np.nan_to_num(other)).mean() > 0.99


def test_a_causal_fill_does_not_know_what_came_after(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    filled(data, tmp_path / "one", causal=True)
    days = days_of(Series(data=data, out=tmp_path / "one", method="eof", causal=True))
    for day in days[20:]:
        with rasterio.open(folder / "history" / day.source.name, "r+") as raster:
            raster.write((raster.read(1) * 0.99).astype(np.uint16), 1)
    filled(folder, tmp_path / "other", causal=True)
    for day in days:
        same = (tmp_path / "one" / day.target.name).read_bytes() == (tmp_path / "other" / day.target.name).read_bytes()
        assert same == (day.when < days[20].when)


@pytest.mark.slow
def test_it_continues_and_is_the_same_for_any_number_of_processes(data, tmp_path, monkeypatch):
    whole = Series(data=data, out=tmp_path / "whole", method="eof")
    fill_series(whole, working(2))
    fill, count = module.EofFiller.fill, []

    def killed(self, day, *rest):
        count.append(day)
        if len(count) == 3:
            raise KeyboardInterrupt
        fill(self, day, *rest)

    monkeypatch.setattr(module.EofFiller, "fill", killed)
    part = Series(data=data, out=tmp_path / "part", method="eof")
    days = running.start(part)
    running.prepare(part, days)
    with pytest.raises(KeyboardInterrupt):
        running.fill_days(part, days)
    monkeypatch.undo()
    fill_series(part, working(1))
    assert contents(part.out) == contents(whole.out)


def test_a_day_whose_values_lie_far_from_others_is_left_out(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    day = days_of(Series(data=folder, out=tmp_path / "out", method="eof"))[14]
    with rasterio.open(day.source, "r+") as raster:
        raster.scales = (1.0,)
    series = Series(data=folder, out=tmp_path / "out", method="eof")
    days = running.start(series)
    running.prepare(series, days)
    failed = running.fill_days(series, days)
    assert list(failed) == [day.when]
    assert "scale" in failed[day.when]
    assert isinstance(day, Day)
    assert not day.target.exists()
    assert (day.when + timedelta(days=1)) not in failed


def test_a_history_of_which_no_scene_can_be_opened_is_refused(data, tmp_path):
    scenes = {read_date(path): path for path in list_rasters(data / "history")}
    filler = module.EofFiller(data, tmp_path / "out", ReadOptions(band=2), causal=False)
    with pytest.raises(DataError, match="has 1 band, so there is no band 2"):
        filler.prepare(scenes, [])


def test_bands_that_share_a_mask_are_filled_together(data, tmp_path):
    folder = tmp_path / "data" / "history"
    folder.mkdir(parents=True)
    for path in list_rasters(data / "history")[5:11]:
        with rasterio.open(path) as raster:
            stored, profile = raster.read(1), {**raster.profile, "count": 2, "nodata": None}
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(folder / path.name, "w", **profile) as raster:
            raster.write(np.stack([stored, stored // 2]))
            raster.write_mask(stored > 0)
    series = filled(folder.parent, tmp_path / "out")
    for day in days_of(series):
        with rasterio.open(day.target) as raster:
            first, second = raster.read().astype(float)
            known = raster.read_masks(1) > 0
            assert np.array_equal(known, raster.read_masks(2) > 0)
        assert np.abs(second - first / 2)[known].max() < 15  # 0.3 K
