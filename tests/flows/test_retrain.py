import inspect
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from prefect import flow
from prefect.utilities.callables import parameter_schema

from flows.fill import fill, fill_series
from flows.incoming import fill_incoming
from flows.optimize import optimize as optimize_flow
from flows.retrain import retrain, schedule_to_replay
from miha.config_files import read_config
from miha.datasets import fetch
from miha.errors import ConfigError, DataError, RunError
from miha.gapfill.options import FillOptions
from miha.locking import held
from miha.rasters.stack import list_rasters, read_scene
from miha.replay import replay_config
from miha.run import optimize
from tasks.releasing import prepare_if_changed

pytestmark = pytest.mark.usefixtures("prefect_server")

SMALL = [
    "problem.train_samples=6",
    "problem.valid_samples=4",
    "problem.trees=12",
    "problem.width=4",
    "schedule.cycles=0",
]


@pytest.fixture
def site(simulated, tmp_path):
    return {"dataset": "sim", "data": simulated, "models": tmp_path / "models"}


@pytest.fixture(scope="module")
def retrained(simulated, tmp_path_factory, prefect_server):
    """Models and runs of a retraining, to be copied, and its verdict."""
    folder = tmp_path_factory.mktemp("retrained")
    site = {"dataset": "sim", "data": simulated, "models": folder / "models"}
    return folder, retrain(**site, settings=SMALL, runs=folder / "runs")


@pytest.fixture
def released(site, retrained):
    """The site with a released model."""
    shutil.copytree(retrained[0] / "models", site["models"])
    return site


@pytest.fixture
def incoming(simulated, tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    for path in list_rasters(simulated / "gapped")[:2]:
        (folder / path.name).write_bytes(path.read_bytes())
    settled(folder)
    return folder


def settled(folder):
    for path in folder.glob("*.tif"):
        os.utime(path, (time.time() - 100,) * 2)


def test_a_retrained_model_is_released_and_fills_what_arrives(released, retrained, incoming, tmp_path):
    folder, verdict = retrained
    assert verdict.released
    assert [path.name for path in (folder / "runs/sim").iterdir()] == [verdict.archive.stem]
    (incoming / "20210704.tif").write_text("no raster")
    settled(incoming)
    done = fill_incoming(**released, incoming=incoming, out=tmp_path / "filled")
    assert [path.name for path in done.filled] == [path.name for path in list_rasters(incoming)]
    assert list(done.set_aside) == [incoming / "20210704.tif"]
    assert (incoming / "rejected/20210704.tif").read_text() == "no raster"
    assert "cannot be read" in (incoming / "rejected/20210704.tif.reason.txt").read_text()
    again = fill_incoming(**released, incoming=incoming, out=tmp_path / "filled")
    assert (again.filled, again.set_aside) == ([], {})


def test_a_scene_that_lacks_a_map_beside_it_is_filled_again(released, incoming, tmp_path):
    first = fill_incoming(**released, incoming=incoming, out=tmp_path / "filled")
    for name in ("source", "std"):
        missing = first.filled[0].with_name(f"{first.filled[0].stem}_{name}.tif")
        missing.unlink()
        assert fill_incoming(**released, incoming=incoming, out=tmp_path / "filled").filled == first.filled[:1]
        assert missing.exists()


def test_without_a_released_model_no_scene_is_blamed(site, incoming, tmp_path):
    with pytest.raises(DataError, match="nothing is released"):
        fill_incoming(**site, incoming=incoming, out=tmp_path / "filled")
    assert len(list_rasters(incoming)) == 2


def test_filled_scenes_do_not_go_where_scenes_arrive(site, incoming):
    for out in (incoming, incoming / "rejected"):
        with pytest.raises(ConfigError, match="Choose another folder for filled scenes"):
            fill_incoming(**site, incoming=incoming, out=out)
    assert len(list_rasters(incoming)) == 2


def test_no_scene_is_filled_over_the_map_or_the_fill_of_another(released, incoming, tmp_path):
    first = list_rasters(incoming)[0]
    for name in (f"{first.stem}_source.tif", f"{first.stem}.tiff"):
        (incoming / name).write_bytes(first.read_bytes())
    (incoming / "gone.tif").symlink_to(tmp_path / "nowhere")
    settled_files = [path for path in incoming.iterdir() if path.is_file()]
    for path in settled_files:
        os.utime(path, (time.time() - 100,) * 2)
    done = fill_incoming(**released, incoming=incoming, out=tmp_path / "filled")
    assert len(done.filled) == 2
    assert len(done.set_aside) == 2
    assert all("would be filled over" in reason for reason in done.set_aside.values())


def test_a_second_rejected_scene_of_one_name_does_not_replace_the_first(released, incoming, tmp_path):
    for content in ("first", "second"):
        (incoming / "20210704.tif").write_text(content)
        settled(incoming)
        fill_incoming(**released, incoming=incoming, out=tmp_path / "filled")
    assert (incoming / "rejected/20210704.tif").read_text() == "first"
    assert (incoming / "rejected/20210704.1.tif").read_text() == "second"


def test_a_folder_that_nothing_has_arrived_in_yet_is_made(site, tmp_path):
    done = fill_incoming(**site, incoming=tmp_path / "soon", out=tmp_path / "filled")
    assert (done.filled, done.set_aside) == ([], {})
    assert (tmp_path / "soon").is_dir()


def test_two_flows_do_not_fill_one_folder_at_the_same_time(site, incoming, tmp_path):
    with held(tmp_path / "filled", "wait."), pytest.raises(RunError, match="is in use by process"):
        fill_incoming(**site, incoming=incoming, out=tmp_path / "filled")


@pytest.mark.slow
def test_only_an_area_is_filled_and_one_that_is_not_there_is_no_fault_of_the_scenes(released, incoming, tmp_path):
    scenes = list_rasters(incoming)
    with rasterio.open(scenes[0]) as raster:
        profile, shape = {**raster.profile, "dtype": "uint8", "nodata": None, "count": 1}, raster.shape
    left = np.broadcast_to(np.arange(shape[1]) < shape[1] // 2, shape)
    area, out = tmp_path / "area.tif", tmp_path / "filled"
    with pytest.raises(DataError, match=r"area\.tif does not exist"):
        fill_incoming(**released, incoming=incoming, out=out, options=FillOptions(area=area))
    assert list_rasters(incoming) == scenes
    with rasterio.open(area, "w", **profile) as raster:
        raster.write(left.astype(np.uint8), 1)
    done = fill_incoming(**released, incoming=incoming, out=out, options=FillOptions(area=area))
    assert len(done.filled) == len(scenes)
    for path in done.filled:
        with rasterio.open(path.with_name(f"{path.stem}_source.tif")) as raster:
            source = raster.read(1)
        assert (source[left] == 1).any()
        assert not (source[~left] == 1).any()


@flow
def prepares(raw: Path, data: Path, stamp: Path) -> bool:
    return prepare_if_changed(raw, data, stamp)


def test_raw_files_are_prepared_anew_when_and_only_when_they_changed(upstream, tmp_path):
    raw, data = tmp_path / "raw", tmp_path / "scenes"
    settings = {"raw": raw, "data": data, "stamp": tmp_path / "models" / "prepared.sha256"}
    fetch("madrid", raw)
    assert prepares(**settings)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.tif")}
    assert not prepares(**settings)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.tif")} == before
    day = raw / "training_sample" / "20190901T000000.npy"
    np.save(day, np.load(day) + 1)
    scene = read_scene(data / "history" / "20190901.tif").values
    assert prepares(**settings)
    assert np.array_equal(read_scene(data / "history" / "20190901.tif").values, scene + 1)


def test_deployments_say_what_their_flows_take():
    deployments = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]
    flows = {"flows/retrain.py:retrain": retrain, "flows/incoming.py:fill_incoming": fill_incoming}
    assert {deployment["entrypoint"] for deployment in deployments} == flows.keys()
    for deployment in deployments:
        parameters = deployment["parameters"]
        inspect.signature(flows[deployment["entrypoint"]].fn).bind(**parameters)
        assert read_config(parameters.get("config", []), parameters.get("settings", []), {})


@pytest.mark.parametrize("named", [fill, fill_series, fill_incoming, optimize_flow, retrain], ids=lambda one: one.name)
def test_the_form_on_the_page_explains_each_parameter(named):
    properties = parameter_schema(named.fn).properties
    assert properties
    assert all(parameter.get("description") for parameter in properties.values()), properties


def test_between_searches_the_schedule_that_was_found_last_is_replayed(tiny_config, tmp_path):
    folder = tmp_path / "weekly"
    optimize(tiny_config(run_dir=folder / "week1"))
    assert schedule_to_replay(folder / "week1", 3) is None
    for week in ("week2", "week3"):
        found = schedule_to_replay(folder / week, 3)
        assert found == folder / "week1/schedule.yaml"
        optimize(replay_config(found.parent, folder / week))
    assert schedule_to_replay(folder / "week4", 3) is None, "two replays, then a search"
    assert schedule_to_replay(folder / "week2", 1) is None


def test_a_run_that_was_killed_before_its_end_has_no_schedule_to_replay(tiny_config, tmp_path):
    folder = tmp_path / "weekly"
    for week in ("week1", "week2"):
        optimize(tiny_config(run_dir=folder / week, schedule={"cycles": 0}))
    (folder / "week2/provenance.json").unlink()  # what a run writes last
    assert schedule_to_replay(folder / "week3", 3) == folder / "week1/schedule.yaml"


@pytest.mark.slow
def test_every_second_retraining_searches_and_the_others_replay(site, tmp_path):
    settings = [*SMALL[:-1], "schedule.cycles=1", "schedule.population_size=2", "schedule.candidate_epochs=1"]
    for _ in range(2):
        retrain(**site, settings=settings, runs=tmp_path / "runs", search_every=2)
        time.sleep(1)  # runs are named after the second they were scheduled for
    searched, replayed = sorted((tmp_path / "runs/sim").iterdir())
    assert (searched / "population/1_selection.json").exists()
    assert not (replayed / "population").exists()
    assert (replayed / "schedule.yaml").read_bytes() == (searched / "schedule.yaml").read_bytes()


@pytest.mark.slow
def test_a_retraining_whose_network_was_changed_searches_anew_and_says_why(site, tmp_path, caplog):
    settings = [*SMALL[:-1], "schedule.cycles=1", "schedule.population_size=2", "schedule.candidate_epochs=1"]
    for levels in (2, 1):
        retrain(**site, settings=[*settings, f"problem.levels={levels}"], runs=tmp_path / "runs", search_every=3)
        time.sleep(1)  # runs are named after the second they were scheduled for
    first, second = sorted((tmp_path / "runs/sim").iterdir())
    assert f"searches anew, since {first}/schedule.yaml cannot be replayed: step 1" in caplog.text
    assert (second / "population/1_selection.json").exists()
    assert schedule_to_replay(tmp_path / "runs/sim/zzz", 3) == second / "schedule.yaml"
