import json
import shutil

import numpy as np
import pandas as pd
import pytest
import rasterio

import miha
from miha.errors import DataError, RunError
from miha.problems.filler import Filler
from miha.rasters.stack import list_rasters
from miha.records.archive import archive_path
from miha.records.history import read_tables
from miha.records.lineage import lineage_frame
from miha.report.evaluate import TEST_SIZES, evaluate, held_out_cases
from miha.report.exports import write_plots
from miha.report.page import write_report
from miha.report.plots import plot_history


@pytest.fixture
def run(small_fill):
    config = small_fill()
    return miha.optimize(config.problem, config)


def test_the_page_is_self_contained_and_names_the_winner(run):
    page = write_report(run.run_dir).read_text()
    _, population = read_tables(run.run_dir)
    assert 'src="http' not in page
    assert "<script" not in page
    assert page.count("data:image/png;base64,") == 4
    for change in population.change:
        assert change in page
    assert "The data set is simulated" in page


def test_a_page_of_a_run_without_candidates_or_maps_says_so(tiny, tiny_config):
    run = miha.optimize(tiny, tiny_config(unchanged=True))
    page = (run.run_dir / "report.html").read_text()
    assert "This problem has no maps." in page
    assert "<h2>Candidates</h2>" not in page
    assert f"{len(run.history)} epochs with unchanged hyperparameters" in page


def test_a_folder_that_is_no_finished_run_has_no_page(tmp_path):
    with pytest.raises(RunError, match=r"it has no provenance\.json"):
        write_report(tmp_path)


def test_the_lineage_counts_every_mainline_epoch_once(tiny, tiny_config):
    run = miha.optimize(tiny, tiny_config())
    lineage = lineage_frame(*read_tables(run.run_dir))
    assert lineage.epoch.tolist() == list(range(1, len(lineage) + 1))


def test_the_learning_history_names_the_winning_change_of_each_cycle(tiny, tiny_config):
    run = miha.optimize(tiny, tiny_config())
    history, population = read_tables(run.run_dir)
    texts = [text.get_text() for text in plot_history(history, population).axes[0].texts]
    assert texts == population[population.selected].change.tolist()


def test_errors_are_means_inside_the_gap_where_the_truth_is_known(run, simulated):
    case = next(held_out_cases(Filler(run.model, simulated)))
    hidden = np.isnan(case.scene)
    assert case.error(np.where(hidden, case.truth + 2, 1e6)) == pytest.approx(2.0, rel=1e-5)


def test_without_truth_the_test_days_of_the_history_are_judged(small_fill, scenes):
    for folder in ("truth", "gapped"):
        for path in list_rasters(scenes / folder):
            path.unlink()
        (scenes / folder).rmdir()
    config = small_fill(data=scenes)
    run = miha.optimize(config.problem, config)
    metrics, _, _ = evaluate(run.run_dir, scenes)
    assert set(metrics["mae"]["gaps"]) == {f"{size:02d}" for size in TEST_SIZES}
    filler = Filler(run.model, scenes)
    days = {len(case.background.offsets) for case in held_out_cases(filler)}
    assert days == {len(filler.sources.history) - 1}


def test_a_gapped_scene_without_truth_is_named(run, scenes):
    source = list_rasters(scenes / "gapped")[0]
    source.rename(source.with_name("20190101_gap05.tif"))
    with pytest.raises(DataError, match=r"20190101_gap05\.tif has no truth of 2019-01-01"):
        evaluate(run.run_dir, scenes)


def test_a_gap_of_which_no_pixel_is_known_is_named(run, scenes):
    gapped, truth = (list_rasters(scenes / folder)[0] for folder in ("gapped", "truth"))
    shutil.copy(truth, gapped)
    with pytest.raises(DataError, match=rf"{gapped.name} hides no pixel that .*{truth.name} knows"):
        evaluate(run.run_dir, scenes)


def published(scenes, method, change=0.0):
    """Maps of a published method: the truth and a constant, for each gapped scene."""
    with rasterio.open(list_rasters(scenes / "truth")[0]) as raster:
        stored = raster.read() + np.round(change / raster.scales[0]).astype(raster.dtypes[0])
    for path in list_rasters(scenes / "gapped"):
        target = scenes / "published" / method / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        with rasterio.open(target, "r+") as raster:
            raster.write(stored)
    return sorted((scenes / "published" / method).iterdir())


def test_published_methods_stand_beside_ours_if_they_filled_every_gap(run, scenes):
    published(scenes, "whole", 2.0)
    published(scenes, "partial")[0].unlink()
    metrics, frame, _ = evaluate(run.run_dir, scenes)
    assert "partial" not in frame
    assert metrics["methods"]["whole"]["mean"] == pytest.approx(2.0, rel=1e-4)


def test_a_published_map_on_another_grid_is_named(run, scenes):
    path = published(scenes, "shifted")[0]
    with rasterio.open(path, "r+") as raster:
        raster.transform = raster.transform * raster.transform.translation(1, 0)
    with pytest.raises(DataError, match=rf"{path.name} does not fit the scenes: its transform is"):
        evaluate(run.run_dir, scenes)


def test_no_model_is_judged_on_a_day_that_it_learned(run, small_fill, scenes):
    day = list_rasters(scenes / "truth")[0]
    shutil.copy(day, scenes / "history" / day.name)
    config = small_fill("learned", data=scenes)
    learned = miha.optimize(config.problem, config)
    with pytest.raises(DataError, match="the model learned from 20"):
        evaluate(learned.run_dir, scenes)
    with pytest.raises(DataError, match=r"learned learned from 20.*Use runs that held the same days back"):
        evaluate(run.run_dir, scenes, against=learned.run_dir)


def test_metrics_say_what_won_and_what_it_cost(run, simulated):
    metrics, _, _ = evaluate(run.run_dir, simulated)
    assert metrics["epochs"] == len(run.history)
    assert metrics["best"] == run.best.name
    assert metrics["hyperparameters"]["optimizer"] == run.best.hyperparameters.optimizer
    json.dumps(metrics, allow_nan=False)


def test_what_is_plotted_is_the_same_to_the_byte(run, simulated, tmp_path):
    _, errors, _ = evaluate(run.run_dir, simulated)
    for name in ("a", "b"):
        write_plots(tmp_path / name, run.run_dir, simulated, errors)
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in "ab"
    ]
    assert files[0] == files[1]
    assert {str(path) for path in files[0]} >= {"learning.csv", "errors.csv"}
    assert sum(path.suffix == ".png" for path in files[0]) == 3
    assert list(pd.read_csv(tmp_path / "a" / "errors.csv").columns) == ["gap", "mae"]


def test_the_best_archive_is_the_one_that_is_judged(run, simulated):
    metrics, _, _ = evaluate(run.run_dir, simulated)
    filler = Filler(archive_path(run.run_dir, "best"), simulated)
    errors = [case.error(filler.predict(case.scene, case.background)) for case in held_out_cases(filler)]
    assert metrics["mae"]["mean"] == pytest.approx(np.mean(errors))
