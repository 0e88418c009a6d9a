import json
import os
from pathlib import Path

import numpy as np
import pytest

from bench.dineof import dineof
from bench.heldout import without_truth
from bench.lone import PUBLISHED, fill_alone, lone_table
from bench.peers import BASE, METHODS, NETWORK, measure
from bench.peers import main as peers
from bench.rfsi import rfsi
from bench.similar import similar_pixels
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.predictors import Background, Static
from tests.support.filling import small_run


@pytest.fixture
def hidden():
    """A scene that two functions and an offset make up, nine other days with gaps of their own, and the truth."""
    rng = np.random.default_rng(0)
    functions = [np.sin(np.indices((20, 24))[0] / 3), np.cos(np.indices((20, 24))[1] / 4)]
    days = np.tensordot(rng.normal(0, 2, (10, 2)), functions, axes=1) + rng.normal(0, 3, (10, 1, 1))
    days = (days + 280 + rng.normal(0, 0.05, days.shape)).astype(np.float32)
    truth, scene = days[0].copy(), days[0].copy()
    scene[4:13, 5:19] = np.nan
    for day in range(1, 10):
        days[day, day : day + 6, day : day + 8] = np.nan
    return scene, truth, Background.of(days[1:])


def test_dineof_finds_the_functions_that_made_the_days(hidden):
    scene, truth, background = hidden
    filled, gap = dineof(scene, background, np.random.default_rng(0)), np.isnan(scene)
    assert np.isfinite(filled).all()
    assert np.abs(filled - truth)[gap].mean() < 0.2
    assert np.abs(background.level + np.nanmean(scene - background.level) - truth)[gap].mean() > 0.5


def test_trees_that_see_neighbours_keep_what_is_visible_and_come_near(hidden):
    scene, truth, background = hidden
    filled = rfsi(scene, background, Static.none(scene.shape), 300, np.random.default_rng(0))
    gap = np.isnan(scene)
    assert np.array_equal(filled[~gap], scene[~gap])
    assert np.abs(filled - truth)[gap].mean() < 0.8


def test_similar_pixels_tell_what_they_told_on_other_days(hidden):
    scene, truth, background = hidden
    filled, gap = similar_pixels(scene, background), np.isnan(scene)
    assert np.array_equal(filled[~gap], scene[~gap])
    offset = background.level + np.nanmean(scene - background.level)
    assert np.abs(filled - truth)[gap].mean() < 0.6 * np.abs(offset - truth)[gap].mean()


def test_every_method_fills_the_same_gaps_and_a_later_call_measures_no_gap_anew(simulated, tmp_path):
    document = tmp_path / "results.md"
    for _ in range(2):
        peers([simulated], gaps=1, processes=1, results=tmp_path, document=document)
        results = json.loads((tmp_path / "peers.json").read_text())["results"][simulated.name]
        assert results.keys() == {"0"}
        assert results["0"]["errors"].keys() == METHODS.keys() - {NETWORK}
        results["0"]["errors"][BASE] = 7.125
        (tmp_path / "peers.json").write_text(
            json.dumps({"settings": {"run": None}, "results": {simulated.name: results}}, allow_nan=False)
        )
    shown = document.read_text()
    assert all(label in shown for name, label in METHODS.items() if name != NETWORK)
    assert "7.125" in shown


def test_a_network_is_asked_about_days_alone_that_its_run_did_not_learn_from(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.peers._ways", lambda *_: [])
    without = without_truth(simulated, tmp_path / "scenes")
    run = small_run(tmp_path / "run", {"data": without})
    learned = NetworkFiller(run.model, without).learned
    gaps = [measure(without, number, run.run_dir) for number in range(8)]
    assert {NETWORK in gap["errors"] for gap in gaps} == {True, False}
    assert all((NETWORK in gap["errors"]) == (gap["day"] not in learned) for gap in gaps)


@pytest.mark.slow
def test_a_scene_alone_is_judged_where_the_truth_is_known(tmp_path):
    rows, columns = np.indices((30, 40))
    truth = (np.sin(rows / 5) + np.cos(columns / 7)).astype(np.float32)
    observed = truth.copy()
    observed[8:16, 10:25] = np.nan
    truth[:3] = np.nan
    np.savez(tmp_path / "scene.npz", observed=observed, truth=truth)
    result = fill_alone(tmp_path / "scene.npz")
    assert all(mae <= rmse < 0.3 for mae, rmse in zip(result["mae"], result["rmse"], strict=True))
    assert all(name in lone_table(result) for name in PUBLISHED)


@pytest.mark.slow
def test_a_real_scene_alone_is_filled_within_honest_intervals():
    file = Path(os.environ.get("MIHA_DATA_DIR", "")) / "heaton" / "modis_20160804.npz"
    if not file.is_file():
        pytest.skip("needs the scene of the competition: set MIHA_DATA_DIR to a folder that holds heaton/")
    result = fill_alone(file)
    assert max(result["rmse"]) < 1.5
    assert all(0.93 < held < 0.98 for held in result["held"])
