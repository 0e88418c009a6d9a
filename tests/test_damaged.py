"""Files of a run or a data set that somebody damaged: one line that names the file, the key and the remedy."""

import json
import re
import shutil

import pytest

import miha
from miha.datasets import fetch, prepare
from miha.errors import ArchiveError, DataError, RunError
from miha.gapfill.release import read_release, released_model
from miha.report.evaluate import evaluate
from miha.report.page import write_report
from miha.report.tables import archive_table
from tests.support.tiny import TinyProblem

NO_JSON = ["", "{", "\x00", "{'seed': 0}"]


def without(path, key):
    """Take one key, ``outer.inner``, out of a JSON file."""
    content = json.loads(path.read_text())
    *sections, last = key.split(".")
    section = content
    for name in sections:
        section = section[name]
    del section[last]
    path.write_text(json.dumps(content))


def assert_reported(caught, path, key, remedy):
    """One line, of file, key and remedy."""
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path} is damaged: {f'{key}: Field required' if key else 'Invalid JSON'}")
    assert re.search(remedy, message)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    schedule = {"initial_epochs": 1, "cycles": 0}
    return miha.optimize(miha.RunConfig(problem=TinyProblem(), run_dir=folder, schedule=schedule, run={"workers": 1}))


@pytest.fixture
def copy(finished, tmp_path):
    """A finished run to be damaged."""
    return shutil.copytree(finished.run_dir, tmp_path / "run")


@pytest.mark.parametrize("content", NO_JSON)
def test_a_configuration_that_is_no_json(copy, tmp_path, content):
    (copy / "config.json").write_text(content)
    with pytest.raises(RunError) as caught:
        evaluate(copy, tmp_path)
    assert_reported(caught, copy / "config.json", None, r"Run optimize again to restore it\.$")


def test_a_configuration_without_its_seed(copy, tmp_path):
    without(copy / "config.json", "seed")
    with pytest.raises(RunError) as caught:
        evaluate(copy, tmp_path)
    assert_reported(caught, copy / "config.json", "seed", r"Run optimize again to restore it\.$")


@pytest.mark.parametrize("key", [None, "schedule", "schedule.cycles"])
def test_a_configuration_of_a_run_that_goes_on(tiny_config, key):
    config = tiny_config(schedule={"cycles": 0})
    file = miha.optimize(config).run_dir / "config.json"
    before = file.read_text()
    without(file, key) if key else file.write_text("{")
    with pytest.raises(RunError) as caught:
        miha.optimize(config)
    assert_reported(caught, file, key, "Choose another --run-dir, or pass --replace to lose them")
    miha.optimize(config.model_copy(update={"replace": True}))
    assert file.read_text() == before


@pytest.mark.parametrize("use", [write_report, lambda run_dir: archive_table(run_dir / "model" / "model_best.zip")])
@pytest.mark.parametrize("content", NO_JSON)
def test_a_provenance_that_is_no_json(copy, use, content):
    (copy / "provenance.json").write_text(content)
    with pytest.raises(RunError) as caught:
        use(copy)
    assert_reported(caught, copy / "provenance.json", None, r"Remove it and run optimize again\.$")


@pytest.mark.parametrize(
    "key", ["data", "epochs", "configuration", "configuration.schedule", "configuration.run", "configuration.run.keep"]
)
def test_a_provenance_without_a_key(copy, key):
    without(copy / "provenance.json", key)
    with pytest.raises(RunError) as caught:
        write_report(copy)
    assert_reported(caught, copy / "provenance.json", key, r"Remove it and run optimize again\.$")


def test_a_provenance_of_a_run_that_kept_its_final_models_only(tiny_config):
    config = tiny_config(schedule={"cycles": 0}, run={"keep": "final"})
    file = miha.optimize(config).run_dir / "provenance.json"
    without(file, "configuration.run.keep")
    with pytest.raises(RunError) as caught:
        miha.optimize(config)
    assert_reported(caught, file, "configuration.run.keep", r"Remove it and run optimize again\.$")
    file.unlink()
    assert miha.optimize(config).model.exists()


@pytest.mark.parametrize("read", [read_release, released_model])
@pytest.mark.parametrize("key", [None, "archive", "mae", "unit", "released"])
def test_a_pointer_to_what_is_released(tmp_path, read, key):
    file = tmp_path / "released.json"
    file.write_text(json.dumps({"archive": "first.zip", "mae": 0.5, "unit": "K", "released": "2026-01-01T00:00:00"}))
    assert read(tmp_path)
    without(file, key) if key else file.write_text("{")
    with pytest.raises(ArchiveError) as caught:
        read(tmp_path)
    assert_reported(caught, file, key, r"Restore it or remove it\.$")


@pytest.mark.parametrize("key", [None, "name", "url", "folder", "bounds"])
def test_the_origin_of_fetched_files(upstream, tmp_path, key):
    fetch("madrid", tmp_path / "raw")
    file = tmp_path / "raw" / "source.json"
    without(file, key) if key else file.write_text("{")
    with pytest.raises(DataError) as caught:
        prepare(tmp_path / "raw", tmp_path / "scenes")
    assert_reported(caught, file, key, r"Fetch the data again\.$")
    assert not (tmp_path / "scenes").exists()
