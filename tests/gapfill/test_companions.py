import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from miha.errors import DataError
from miha.events import observed_by
from miha.gapfill.cases import pasted_case
from miha.gapfill.companions import beside
from miha.gapfill.days import clear_days
from miha.gapfill.filler import BaseFiller
from miha.gapfill.problem import GapFill
from miha.gapfill.series import Series, days_of, fill_days
from miha.products.prepare import prepare
from miha.products.product import read_product
from miha.rasters import stack
from miha.rasters.simulate import simulate
from miha.rasters.stack import list_rasters, read_scene
from miha.records.archive import read_archive
from miha.run import optimize
from tests.support.downloads import mod11a1
from tests.support.runs import contents


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "nights"
    simulate(folder, days=12, height=32, width=32, seed=3, nights=True)
    return folder


@pytest.fixture
def nights(made, tmp_path):
    """A data set with a companion, to be changed by a test."""
    return shutil.copytree(made, tmp_path / "nights")


def rewrite(path, change):
    """Change the values of a raster."""
    with rasterio.open(path, "r+") as raster:
        raster.write(change(raster.read()))


def test_nights_stand_beside_the_same_days(made, simulated):
    days = [path.relative_to(simulated) for path in simulated.rglob("*.tif")]
    assert all((made / day).read_bytes() == (simulated / day).read_bytes() for day in days)
    assert len(list_rasters(made / "companions" / "night" / "history")) == 13


def test_what_was_seen_in_the_night_lowers_the_error_of_the_day(made, simulated, tmp_path):
    source = list_rasters(simulated / "gapped")[6]
    truth, gaps = read_scene(list_rasters(simulated / "truth")[0]).values, read_scene(source).gaps
    errors = []
    for data in (simulated, made):
        BaseFiller(data).fill_all([source], tmp_path / data.name)
        filled = read_scene(tmp_path / data.name / source.name).values
        errors.append(np.abs(filled - truth)[gaps].mean())
    assert errors[1] < 0.95 * errors[0]


def test_a_companion_is_one_more_day_of_the_day_that_it_shows(made):
    history = BaseFiller(made).history
    case = pasted_case(history, int(clear_days(history.values)[0]), 0)
    shown = len(case.background.anomalies)
    assert shown == len(history) - 1 + 1
    assert case.background.weights.argmax() == shown - 1
    assert case.background.weights.mean() == pytest.approx(1)
    assert beside(case.background, history.companions, date(1999, 1, 1)) is case.background


def test_a_companion_of_another_unit_and_level_tells_the_same(nights):
    before = BaseFiller(nights).history
    for path in list_rasters(nights / "companions" / "night" / "history"):
        rewrite(path, lambda stored: np.where(stored > 0, stored // 4 + 100, stored))
    after = BaseFiller(nights).history
    one, other = (pasted_case(history, 0, 0).background for history in (before, after))
    assert np.nanmax(np.abs(before.companions[0].values - after.companions[0].values)) > 100
    assert np.nanmax(np.abs(one.anomalies[-1] - other.anomalies[-1])) < 0.2


def test_a_causal_fill_does_not_know_what_a_companion_showed_later(nights, tmp_path):
    when = date(2021, 5, 9)  # which shows most of the scene, and its night too
    name, companion = f"{when:%Y%m%d}", list_rasters(nights / "companions" / "night" / "history")

    def filled(out):
        series = Series(data=nights, out=tmp_path / out, first=when, last=when, causal=True)
        fill_days(series, days_of(series))
        return (series.out / f"{name}.tif").read_bytes()

    before = filled("before")
    for path in companion:
        if path.stem > name:
            rewrite(path, np.flip)
    assert filled("later changed") == before
    rewrite(next(path for path in companion if path.stem == name), np.flip)
    assert filled("its own changed") != before


def test_a_run_learns_from_companions_and_anew_when_they_change(nights, small_fill):
    config = small_fill("one", data=nights)
    optimize(config)
    before, fingerprint = contents(config.run_dir), config.problem.fingerprint()
    optimize(config)
    assert contents(config.run_dir) == before
    rewrite(list_rasters(nights / "companions" / "night" / "history")[0], lambda stored: stored + 1)
    assert config.problem.fingerprint() != fingerprint
    shutil.rmtree(nights / "companions")
    alone = small_fill("two", data=nights)
    optimize(alone)
    weights = [read_archive(one.run_dir / "model/model_final.zip").weights["linear.weight"] for one in (config, alone)]
    assert not torch.equal(*weights)


def test_another_layer_of_a_download_becomes_a_companion_and_stays_when_the_first_is_prepared_anew(tmp_path):
    raw, data = mod11a1(tmp_path / "raw", days=5, size=32), tmp_path / "data"
    for path in raw.glob("*Day*"):
        shutil.copy(path, path.with_name(path.name.replace("Day", "Night")))
    night = data / "companions" / "night"
    prepare([str(raw)], read_product("mod11a1"), night, layer="LST_Night_1km")
    for _ in range(2):
        prepare([str(raw)], read_product("mod11a1"), data)
        history = BaseFiller(data).history
        assert [one.dates for one in history.companions] == [history.dates]


def test_a_companion_of_another_grid_is_refused(nights):
    shutil.rmtree(nights / "companions" / "night")
    simulate(nights / "companions" / "night", days=6, height=32, width=40, seed=0)
    with pytest.raises(DataError, match=r"companions/night/history does not fit the history: .*40"):
        BaseFiller(nights)


def told(data):
    """The companions of a data set, and what is said when they are read."""
    said = []
    with observed_by(said.append):
        companions = BaseFiller(data).history.companions
    return companions, [one.line for one in said]


def test_what_is_no_companion_is_named_and_left_out(nights):
    (nights / "companions" / "noon").mkdir()
    shutil.copy(list_rasters(nights / "history")[0], nights / "companions" / "20210501.tif")
    (nights / "companions" / ".unfinished" / "history").mkdir(parents=True)
    companions, lines = told(nights)
    assert len(companions) == 1
    names = [Path(line.split(" is not used: a companion is a folder")[0]).name for line in lines]
    assert names == ["20210501.tif", "noon"]


@pytest.mark.parametrize(
    ("rename", "keep", "why"),
    [(("2021", "2011"), 99, "it shows no day of the history"), (("", ""), 3, "it has 3 days, and at least 4 tell")],
)
def test_a_companion_that_tells_nothing_is_named_and_left_out(nights, rename, keep, why):
    for number, path in enumerate(list_rasters(nights / "companions" / "night" / "history")):
        path.rename(path.with_name(path.name.replace(*rename))) if number < keep else path.unlink()
    companions, lines = told(nights)
    assert companions == ()
    assert [why in line for line in lines] == [True]


def test_a_companion_is_read_by_the_numbers_that_stand_for_missing_pixels_and_its_first_band_counts(nights):
    before = BaseFiller(nights).history.companions[0].values
    for path in list_rasters(nights / "companions" / "night" / "history"):
        with rasterio.open(path) as raster:
            profile, stored, scales = raster.profile, raster.read(), raster.scales
        with rasterio.open(path, "w", **{**profile, "nodata": None, "count": 2}) as raster:
            raster.write(np.concatenate([stored, stored + 7]))
            raster.scales = scales * 2
    after = GapFill(data=nights, nodata=(0,)).history().companions[0].values
    assert np.array_equal(before, after, equal_nan=True)


def test_a_companion_that_does_not_show_the_day_changes_nothing(nights, simulated):
    when = BaseFiller(nights).history.dates[1]
    (nights / "companions" / "night" / "history" / f"{when:%Y%m%d}.tif").unlink()
    with_it, without = (pasted_case(BaseFiller(data).history, 1, 0) for data in (nights, simulated))
    assert np.array_equal(with_it.background.anomalies, without.background.anomalies, equal_nan=True)


def test_a_history_larger_than_memory_is_filled_without_companions_and_says_so(nights, monkeypatch):
    monkeypatch.setattr(stack, "IN_MEMORY", 5000)
    companions, lines = told(nights)
    assert companions == ()
    assert any("companions is not used: the history is too large" in line for line in lines)
