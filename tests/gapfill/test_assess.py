import shutil
from contextlib import nullcontext
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
import rasterio
from matplotlib.figure import Figure

from miha.errors import DataError
from miha.events import Counted, observed_by
from miha.gapfill import assess as module
from miha.gapfill import cases
from miha.gapfill.assess import PATTERNS, Assessment, assess
from miha.gapfill.base import fill_base
from miha.gapfill.cases import fill_case, pasted_case
from miha.gapfill.days import clear_days
from miha.gapfill.eof.single import fill_by_patterns
from miha.gapfill.judging import BASELINES, baselines
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.predictors import Background
from miha.gapfill.problem import GapFill
from miha.gapfill.series import Series, days_of, fill_series
from miha.rasters import stack
from miha.rasters.simulate import simulate
from miha.rasters.stack import list_rasters, read_date, read_scene
from tests.support.filling import small_run, without_truth
from tests.support.rasters import write
from tests.support.runs import of_kind

GAPS = 6
METHODS = [*BASELINES, PATTERNS]
SIDE = 16  # of windows, smaller than the scenes


@pytest.fixture(scope="module")
def found(simulated):
    """An assessment of the simulated data set, and the events meanwhile."""
    events = []
    with observed_by(events.append):
        return assess(simulated, GAPS, 1), events


@pytest.fixture
def history(simulated):
    return GapFill(data=simulated).history()


@pytest.fixture
def opened(scenes, monkeypatch):
    """A data set whose history is opened and not read, with windows that are smaller than its scenes."""
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    for one in (cases, module):
        monkeypatch.setattr(one, "SIDE", SIDE)
    return scenes


def pasted_window(data, day, number):
    """The case of a row, as a window of the history."""
    problem = GapFill(data=data)
    history = problem.history()
    return history, pasted_case(history, history.dates.index(date.fromisoformat(day)), number, problem.static_files())


def test_each_gap_is_a_row_with_the_error_of_each_method(found, history):
    assessment, events = found
    assert len(assessment.gaps) == GAPS
    assert assessment.methods == METHODS
    assert list(assessment.gaps.columns) == ["day", "size", *METHODS, "50", "80", "95", "crps"]
    assert np.isfinite(assessment.gaps.drop(columns="day").to_numpy(float)).all()
    assert (assessment.gaps[METHODS] > 0).all(axis=None)
    clear = [history.dates[day].isoformat() for day in clear_days(history.values)]
    assert len(clear) > GAPS, "so that days are spread"
    chosen = assessment.gaps["day"].tolist()
    assert chosen == sorted({*chosen})
    assert {clear[0], clear[-1]} < {*chosen} <= {*clear}
    assert assessment.unit == "K"
    assert of_kind(events, Counted) == [Counted("gaps", number, GAPS) for number in range(1, GAPS + 1)]


def test_processes_side_by_side_change_no_figure(found, simulated):
    one, two = (gaps.drop(columns="trees") for gaps in (found[0].gaps, assess(simulated, GAPS, 2).gaps))
    assert one.equals(two)  # trees are fewer in this process alone


def test_of_few_clear_days_each_has_several_gaps(scenes):
    history = GapFill(data=scenes).history()
    clear = [history.dates[day].isoformat() for day in clear_days(history.values)]
    days = assess(scenes, len(clear) + 2, 1).gaps["day"].tolist()
    assert days == [*clear, *clear[:2]]


def test_a_row_is_what_the_base_makes_of_a_pasted_gap(found, simulated, history):
    assessment, _ = found
    problem = GapFill(data=simulated)
    row = assessment.gaps.iloc[2]
    case = pasted_case(history, history.dates.index(date.fromisoformat(row.day)), 2)
    base = fill_base(case.scene, case.background, problem.static(), 0)
    assert row["base"] == pytest.approx(case.error(base.mean))
    assert row["80"] == pytest.approx(case.sureness(base)["80"])
    assert row["size"] == pytest.approx(100 * np.isnan(case.scene).mean())


def test_a_table_has_means_by_size_and_over_all_with_their_standard_error(found):
    assessment, _ = found
    table = assessment.table()
    assert list(table.columns) == METHODS
    assert list(table.index)[-2:] == ["all", "standard error"]
    assert table.loc["all", "base"] == pytest.approx(assessment.gaps["base"].mean())
    for label in table.index[:-2]:
        low, high = (float(part) for part in label.removesuffix(" %").split(" to "))
        inside = assessment.gaps[(assessment.gaps["size"] > low) & (assessment.gaps["size"] <= high)]
        assert table.loc[label, "ridge"] == pytest.approx(inside["ridge"].mean())


def test_days_are_the_units_of_the_standard_error():
    gaps = pd.DataFrame({"day": ["a", "a", "b", "b"], "size": [10.0, 30, 60, 90], "base": [1.0, 3, 5, 7]})
    table = Assessment(gaps, ["base"], "K").table()
    assert table["base"].tolist() == pytest.approx([1, 3, 5, 7, 4, np.sqrt(8) / np.sqrt(2)])
    assert list(table.index)[:4] == ["0 to 25 %", "25 to 50 %", "50 to 75 %", "75 to 100 %"]


def test_a_picture_shows_each_method_and_each_gap(found):
    assessment, _ = found
    figure = assessment.picture()
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == METHODS
    assert [len(line.get_xdata()) for line in axes.lines[::2]] == [GAPS] * len(METHODS)
    assert axes.get_ylabel() == "mean absolute error, K"
    assert (
        axes.get_title()
        == f"{GAPS} gaps on {assessment.gaps['day'].nunique()} days, each day left out of what fills it"
    )


def test_the_share_of_truths_inside_intervals_is_a_mean_over_gaps(found):
    assessment, _ = found
    held = assessment.coverage()
    assert list(held) == ["50", "80", "95"]
    assert held["80"] == pytest.approx(assessment.gaps["80"].mean())
    assert held["50"] <= held["80"] <= held["95"]


def test_a_day_is_left_out_of_what_fills_it(simulated, history):
    """What its gap hides may be anything."""
    day, static = int(clear_days(history.values)[0]), GapFill(data=simulated).static()
    case = pasted_case(history, day, 1, static)
    values = history.values.copy()
    values[day][case.hidden] += 1000
    other = pasted_case(replace(history, values=values), day, 1, static)
    assert len(case.background.offsets) == len(history) - 1
    assert np.array_equal(case.background.level, Background.of(history.without(history.dates[day]).values).level)
    assert np.array_equal(case.scene, other.scene, equal_nan=True)
    assert other.error(case.truth) == pytest.approx(1000, rel=1e-4)
    bases = [fill_base(one.scene, one.background, static, 0) for one in (case, other)]
    maps = [baselines(one, base.mean) for one, base in zip((case, other), bases, strict=True)]
    for name in BASELINES:
        assert np.array_equal(maps[0][name], maps[1][name])
    assert np.array_equal(bases[0].std, bases[1].std)


def test_patterns_are_those_of_a_series_whose_day_has_the_gap(found, simulated, history, tmp_path):
    assessment, _ = found
    case = pasted_case(history, history.dates.index(date.fromisoformat(assessment.gaps["day"][1])), 1)
    for path in list_rasters(simulated / "history"):
        target = tmp_path / "data/history" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        if read_date(path) == case.day:
            with rasterio.open(target, "r+") as raster:
                raster.write(np.where(np.isnan(case.scene), raster.nodata, raster.read(1)), 1)
    series = Series(data=tmp_path / "data", out=tmp_path / "out", method="eof", first=case.day, last=case.day)
    fill_series(series, nullcontext())
    (day,) = days_of(series)
    assert assessment.gaps[PATTERNS][1] == pytest.approx(case.error(read_scene(day.target).values), rel=1e-3)


def test_of_few_days_no_patterns_are_made(tmp_path):
    scenes = tmp_path / "scenes"
    simulate(scenes, days=6, height=32, width=32, seed=3)
    assert assess(scenes, 4, 1).methods == list(BASELINES)


def test_gaps_are_of_all_sizes_and_the_same_each_time(history):
    day = int(clear_days(history.values)[0])
    visible = ~np.isnan(history.values[day])
    cases = [pasted_case(history, day, number) for number in range(8)]
    again = pasted_case(history, day, 3)
    assert np.array_equal(cases[3].scene, again.scene, equal_nan=True)
    hidden = sorted(case.hidden[visible].mean() for case in cases)
    assert hidden[0] < 0.25
    assert hidden[-1] > 0.75


def test_a_model_is_judged_on_the_days_that_its_run_held_back_alone(tmp_path):
    scenes = tmp_path / "scenes"
    simulate(scenes, days=12, height=32, width=32, seed=3)
    without_truth(scenes)
    run = small_run(tmp_path / "run", {"data": scenes})
    assessment = assess(scenes, 4, 1, run.model)
    assert set(assessment.gaps["day"]) == set(NetworkFiller(run.model, scenes).split.test)
    assert assessment.methods == [*METHODS, "network"]
    assert list(assessment.table().columns) == [*METHODS, "network"]
    assert np.isfinite(assessment.gaps["network"]).all()


def test_a_model_whose_run_held_no_day_back_is_reported_with_the_remedy(run, simulated):
    with pytest.raises(DataError, match=r"was trained on every clear day of .*/history\. Leave the model out"):
        assess(simulated, 4, 1, run.model)


def test_a_history_of_one_day_cannot_be_assessed(scenes):
    for path in list_rasters(scenes / "history")[1:]:
        path.unlink()
    with pytest.raises(DataError, match=r"history has one day; at least two are needed to leave one out\. Add days"):
        assess(scenes, 4, 1)


def test_a_history_without_a_clear_day_is_reported_with_the_remedy(tmp_path):
    """Strips that do not overlap: no day shows a third of what any shows."""
    for day in range(4):
        values = np.full((32, 32), np.nan, np.float32)
        values[8 * day : 8 * day + 8] = 280
        write(tmp_path / "history" / f"2020010{day + 1}.tif", values)
    with pytest.raises(DataError, match="clear"):
        assess(tmp_path, 4, 1)


def test_of_an_opened_stack_gaps_are_pasted_on_windows_and_the_output_says_so(opened, monkeypatch):
    assessment = assess(opened, 4, 1)
    assert assessment.methods == METHODS
    assert np.isfinite(assessment.gaps[METHODS]).all(axis=None)
    (axes,) = assessment.picture().axes
    assert axes.get_xlabel() == f"gap, percent of a window of {SIDE} × {SIDE} pixels"
    assert assessment.gaps.equals(assess(opened, 4, 1).gaps)
    monkeypatch.setattr(module, "WINDOWS", 5)
    assert len(assess(opened, None, 1).gaps) == 5


def test_a_row_of_an_opened_stack_is_what_each_method_makes_of_a_window(opened):
    """It is filled as a scene by itself, by the patterns of that window of the days."""
    row = assess(opened, 4, 1).gaps.iloc[2]
    history, case = pasted_window(opened, row.day, 2)
    base = fill_base(case.scene, case.background, case.static, 0)
    cut = replace(history, values=np.stack([day[case.where] for day in history.values.scenes]))
    assert case.scene.shape == case.static.continuous.shape[1:] == (SIDE, SIDE)
    assert np.array_equal(cut.values[history.dates.index(case.day)], case.truth, equal_nan=True)
    maps = baselines(case, base.mean)
    maps[PATTERNS] = fill_by_patterns(cut, case.day, case.scene).mean
    assert {name: row[name] for name in METHODS} == {name: case.error(maps[name]) for name in METHODS}
    assert row["size"] == 100 * np.isnan(case.scene).mean()


def test_a_model_is_judged_on_windows_of_an_opened_stack(opened, tmp_path):
    without_truth(opened)
    run = small_run(tmp_path / "run", {"data": opened, "patch": SIDE})
    filler = NetworkFiller(run.model, opened)
    assessment = assess(opened, 4, 1, run.model)
    assert set(assessment.gaps["day"]) == set(filler.split.test)
    history = filler.history
    case = pasted_case(history, history.dates.index(_first(filler.split.test)), 0, filler.static_files)
    assert assessment.gaps["network"][0] == case.error(fill_case(filler, case).mean)


def _first(days):
    return min(date.fromisoformat(day) for day in days)
