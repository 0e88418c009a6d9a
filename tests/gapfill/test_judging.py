import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from miha.errors import DataError
from miha.events import Counted, observed_by
from miha.gapfill.base import fill_base
from miha.gapfill.cases import TEST_SIZES, held_out_cases
from miha.gapfill.judging import NoSharedDayError, baselines, judge, mean_errors
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.predictors import Background
from miha.rasters.simulate import GAP_SIZES, simulate
from miha.rasters.stack import list_rasters
from tests.support.filling import add_quality_files, publish_maps, small_run, without_truth, write_broken
from tests.support.runs import of_kind


@pytest.fixture(scope="module")
def held_back(tmp_path_factory):
    """A run on days without truth, of which it held some back; and the data."""
    folder = tmp_path_factory.mktemp("held_back")
    simulate(folder / "scenes", days=12, height=32, width=32, seed=3)
    without_truth(folder / "scenes")
    return small_run(folder / "run", {"data": folder / "scenes"}), folder / "scenes"


@pytest.fixture
def two_gaps(scenes):
    """A data set to be damaged, with a gap of 5 and one of 40 %."""
    for path in list_rasters(scenes / "gapped"):
        if not path.stem.endswith(("_gap05", "_gap40")):
            path.unlink()
    return scenes


def test_errors_are_means_inside_the_gap_where_the_truth_is_known(run, simulated):
    case = held_out_cases(NetworkFiller(run.model, simulated))[0]
    hidden = np.isnan(case.scene)
    assert case.error(np.where(hidden, case.truth + 2, 1e6)) == pytest.approx(2.0, rel=1e-5)
    known = case.truth.copy()
    known[hidden & (np.cumsum(hidden).reshape(hidden.shape) % 2 == 0)] = np.nan
    half = replace(case, truth=known)
    assert half.error(np.where(np.isnan(known), 1e6, known + 2)) == pytest.approx(2.0, rel=1e-5)


def test_a_model_is_judged_on_each_gap_beside_four_baselines(run, simulated):
    events = []
    with observed_by(events.append):
        judgement = judge(simulated, {"miha": run.model})
    sizes = [f"{size:02d}" for size in GAP_SIZES]
    assert list(judgement.table.columns) == ["mean_plus_offset", "ridge", "trees", "base", "miha"]
    assert list(judgement.table.index) == [*sizes, "mean"]
    assert np.allclose(judgement.table.loc["mean"], judgement.table.loc[sizes].mean())
    filler = NetworkFiller(run.model, simulated)
    errors = [case.error(filler.predict(case.scene, case.background).mean) for case in held_out_cases(filler)]
    assert judgement.errors.mae.tolist() == pytest.approx(errors)
    assert judgement.metrics["mae"]["mean"] == pytest.approx(np.mean(errors))
    assert judgement.metrics["mae"]["gaps"] == pytest.approx(dict(zip(sizes, errors, strict=True)))
    assert set(judgement.metrics["methods"]) == {"mean_plus_offset", "ridge", "trees", "base"}
    assert (judgement.errors.index.name, judgement.lower_is_better) == ("gap", True)
    assert judgement.title.startswith("mean absolute error inside the gap, K; simulated scenes")
    json.dumps(judgement.metrics, allow_nan=False)
    counted = [Counted("gaps", number, len(sizes), f"{size} %") for number, size in enumerate(sizes, start=1)]
    assert of_kind(events, Counted) == counted


def test_baselines_see_the_other_days_and_the_visible_pixels_alone(run, simulated):
    filler = NetworkFiller(run.model, simulated)
    case = held_out_cases(filler)[0]
    blind = replace(case, truth=np.full_like(case.truth, 1e6))
    maps, again = (
        baselines(one, fill_base(one.scene, one.background, one.static, filler.seed).mean) for one in (case, blind)
    )
    assert set(maps) == {"mean_plus_offset", "ridge", "trees", "base"}
    for name, values in maps.items():
        assert np.isfinite(values).all()
        assert np.array_equal(values, again[name])
        assert case.error(values) < 5


def test_the_day_of_the_held_out_gaps_is_fitted_once(run, simulated, monkeypatch):
    fitted, of = [], Background.of
    filler = NetworkFiller(run.model, simulated)
    monkeypatch.setattr(Background, "of", lambda values: fitted.append(len(values)) or of(values))
    assert len(held_out_cases(filler)) == len(GAP_SIZES)
    assert fitted == [12]


def test_without_truth_the_test_days_of_the_history_are_judged(held_back):
    run, scenes = held_back
    filler = NetworkFiller(run.model, scenes)
    judgement = judge(scenes, {"miha": run.model})
    assert set(judgement.metrics["mae"]["gaps"]) == {f"{size:02d}" for size in TEST_SIZES}
    cases = held_out_cases(filler)
    assert {case.day.isoformat() for case in cases} == set(filler.split.test)
    assert {len(case.background.offsets) for case in cases} == {len(filler.history) - 1}


def test_a_run_that_held_no_day_back_has_nothing_to_be_judged_by_without_truth(run, scenes):
    without_truth(scenes)
    with pytest.raises(DataError, match=r"has no truth/, and the run held no test days back\. Add truth/ or train"):
        judge(scenes, {"miha": run.model})


def test_test_days_that_are_gone_are_named(held_back, tmp_path):
    run, scenes = held_back
    scenes = shutil.copytree(scenes, tmp_path / "scenes")
    days = NetworkFiller(run.model, scenes).split.test
    for day in days:
        (scenes / "history" / f"{day.replace('-', '')}.tif").unlink()
    with pytest.raises(DataError, match=rf"none of the test days \({', '.join(days)}\) is in .*/history any more"):
        judge(scenes, {"miha": run.model})


def test_test_days_that_leave_no_gap_are_reported_with_the_remedy(held_back, tmp_path):
    run, scenes = held_back
    scenes = shutil.copytree(scenes, tmp_path / "scenes")
    for day in NetworkFiller(run.model, scenes).split.test:
        with rasterio.open(scenes / "history" / f"{day.replace('-', '')}.tif", "r+") as raster:
            values = raster.read(1)
            values.flat[np.flatnonzero(values)[40:]] = raster.nodata  # no gap leaves 32 of 40 pixels and hides 16
            raster.write(values, 1)
    with pytest.raises(DataError, match=r"show too little for a gap that hides 16 pixels and leaves 32\. Add truth/"):
        judge(scenes, {"miha": run.model})


def test_a_gapped_scene_without_truth_is_named(run, scenes):
    source = list_rasters(scenes / "gapped")[0]
    source.rename(source.with_name("20190101_gap05.tif"))
    with pytest.raises(DataError, match=r"20190101_gap05\.tif has no truth of 2019-01-01"):
        judge(scenes, {"miha": run.model})


def test_a_gap_of_which_no_pixel_is_known_is_named(run, scenes):
    gapped, truth = (list_rasters(scenes / folder)[0] for folder in ("gapped", "truth"))
    shutil.copy(truth, gapped)
    with pytest.raises(DataError, match=rf"{gapped.name} hides no pixel that .*{truth.name} knows"):
        judge(scenes, {"miha": run.model})


def test_a_gap_whose_name_states_no_size_goes_by_what_it_hides(run, scenes):
    small, *others = list_rasters(scenes / "gapped")
    for path in others:
        path.unlink()
    small.rename(small.with_name("20210507_a.tif"))
    assert [case.gap for case in held_out_cases(NetworkFiller(run.model, scenes))] == ["05"]


def test_published_methods_stand_beside_ours_if_they_filled_every_gap(run, two_gaps):
    publish_maps(two_gaps, "whole", 2.0)
    publish_maps(two_gaps, "partial")[0].unlink()
    judgement = judge(two_gaps, {"miha": run.model})
    assert "partial" not in judgement.table
    assert "partial" not in judgement.metrics["methods"]
    assert judgement.metrics["methods"]["whole"]["mean"] == pytest.approx(2.0, rel=1e-4)


def test_a_published_method_that_lacks_one_of_two_scenes_of_a_size_is_left_out(run, two_gaps):
    """What it has of that size says nothing of what it lacks."""
    scene = list_rasters(two_gaps / "gapped")[0]
    shutil.copy(scene, scene.with_name("20210507b_gap05.tif"))
    publish_maps(two_gaps, "whole", 2.0)
    partial = publish_maps(two_gaps, "partial", 1.0)
    assert len(partial) == 3
    partial[0].unlink()
    judgement = judge(two_gaps, {"miha": run.model})
    assert list(judgement.table.columns) == ["whole", "mean_plus_offset", "ridge", "trees", "base", "miha"]
    assert list(judgement.table.index) == ["05", "40", "mean"]


def test_quality_files_beside_the_gaps_are_no_scenes_and_hide_nothing_of_published_maps(two_gaps, tmp_path):
    publish_maps(two_gaps, "kriging", change=1.0)
    rule = add_quality_files(two_gaps)
    run = small_run(tmp_path / "run", {"data": two_gaps, "clear": rule})
    assert [case.gap for case in held_out_cases(NetworkFiller(run.model, two_gaps))] == ["05", "40"]
    assert judge(two_gaps, {"miha": run.model}).table.loc["mean", "kriging"] == pytest.approx(1.0, abs=0.02)


def test_a_published_map_on_another_grid_is_named(run, scenes):
    path = publish_maps(scenes, "shifted")[0]
    with rasterio.open(path, "r+") as raster:
        raster.transform = raster.transform * raster.transform.translation(1, 0)
    with pytest.raises(DataError, match=rf"{path.name} does not fit the scenes: its transform is"):
        judge(scenes, {"miha": run.model})


@pytest.mark.parametrize("broken", ["miha", "other"])
def test_a_model_that_gives_no_number_is_named_with_the_gap(run, two_gaps, tmp_path, broken):
    write_broken(run.model, tmp_path / "broken.zip")
    archives = {"other": run.model, "miha": run.model} | {broken: tmp_path / "broken.zip"}
    with pytest.raises(DataError, match=rf"^{broken} gives no number inside the gap of 05 %: .*Train anew"):
        judge(two_gaps, archives)


def test_another_run_is_a_column_of_its_own_beside_a_method_of_its_name(run, two_gaps):
    publish_maps(two_gaps, "rival", 2.0)
    judgement = judge(two_gaps, {"rival": run.model, "ridge": run.model, "miha": run.model})
    assert list(judgement.table.columns) == [
        *("rival", "mean_plus_offset", "ridge", "trees", "base"),
        *("rival (run)", "ridge (run)", "miha"),
    ]
    assert (judgement.table["rival (run)"] == judgement.table.miha).all()
    assert judgement.metrics["methods"]["rival"]["mean"] == pytest.approx(2.0, rel=1e-4)


def test_a_published_method_called_as_we_are_stands_beside_us(run, two_gaps):
    publish_maps(two_gaps, "miha", 2.0)
    metrics = judge(two_gaps, {"miha": run.model}).metrics
    assert pytest.approx(next(value["mean"] for name, value in metrics["methods"].items() if "miha" in name)) == 2.0


def test_no_model_is_judged_on_a_day_that_it_learned(run, two_gaps, tmp_path):
    day = list_rasters(two_gaps / "truth")[0]
    shutil.copy(day, two_gaps / "history" / day.name)
    learned = small_run(tmp_path / "learned", {"data": two_gaps})
    with pytest.raises(DataError, match="the model learned from 20"):
        judge(two_gaps, {"miha": learned.model})
    with pytest.raises(DataError, match=r"learned learned from 20.*Use runs that held the same days back"):
        judge(two_gaps, {"learned": learned.model, "miha": run.model})


def test_mean_errors_weigh_all_gap_sizes_alike(run, two_gaps):
    scene = list_rasters(two_gaps / "gapped")[0]
    shutil.copy(scene, scene.with_name("20210507b_gap05.tif"))
    filler = NetworkFiller(run.model, two_gaps)
    by_size = judge(two_gaps, {"miha": run.model}).errors.mae
    assert mean_errors({"one": filler, "same": filler}) == pytest.approx(dict.fromkeys(("one", "same"), by_size.mean()))


def test_a_model_that_gives_no_number_has_no_mean_error(run, two_gaps, tmp_path):
    write_broken(run.model, tmp_path / "broken.zip")
    fillers = {"whole": NetworkFiller(run.model, two_gaps), "broken": NetworkFiller(tmp_path / "broken.zip", two_gaps)}
    errors = mean_errors(fillers)
    assert np.isnan(errors["broken"])
    assert np.isfinite(errors["whole"])


def test_models_of_which_one_learned_each_held_out_day_cannot_be_compared(held_back, tmp_path):
    run, scenes = held_back
    other = next(
        filler
        for seed in range(1, 9)
        if not set((filler := _filler(tmp_path, scenes, seed)).split.test)
        & set(NetworkFiller(run.model, scenes).split.test)
    )
    with pytest.raises(NoSharedDayError, match=r"share no held-out day of .*: all were learned from"):
        mean_errors({"new": NetworkFiller(run.model, scenes), "old": other})


def _filler(folder, scenes, seed):
    schedule = {"initial_epochs": 1, "cycles": 0}
    return NetworkFiller(small_run(folder / f"run{seed}", {"data": scenes}, seed=seed, schedule=schedule).model, scenes)
