"""Data are opened once: a history may have hundreds of days, and every stage asks for it."""

import multiprocessing
from collections import Counter

import pytest

from miha.errors import DataError
from miha.experiment import Experiment
from miha.files import digest_file
from miha.rasters.stack import list_rasters
from miha.training.spec import ProblemSpec
from tests.support.rasters import counted_reads
from tests.support.scenes import alter

FORKSERVER = multiprocessing.get_context("forkserver")


def open_in_worker(spec_json: str, answers) -> None:
    """What a fresh process reads to train a first stage."""
    with counted_reads() as reads:
        opened = ProblemSpec.model_validate_json(spec_json).opened(0)
        opening = dict(reads)
        opened.problem.build_network()
    answers.put((opening, dict(reads)))


@pytest.fixture
def experiment(small_fill, scenes):
    """An experiment whose samples are there."""
    experiment = Experiment(small_fill(data=scenes))
    experiment.prepare()
    return experiment


def names(folder):
    return {f"{folder.name}/{path.name}" for path in list_rasters(folder)}


def test_to_plan_and_prepare_a_run_each_file_is_read_once_and_hashed_once(small_fill, scenes, monkeypatch):
    hashed = Counter()
    monkeypatch.setattr("miha.files.digest_file", lambda path: hashed.update([path.name]) or digest_file(path))
    with counted_reads() as reads:
        Experiment(small_fill(data=scenes)).prepare()
    files = names(scenes / "history") | names(scenes / "static")
    assert reads == dict.fromkeys(files, 1)
    assert {name: count for name, count in hashed.items() if name.endswith(".tif")} == {
        name.rpartition("/")[2]: 1 for name in files
    }


def test_a_run_that_is_looked_at_again_reads_no_file_again(small_fill, scenes):
    config = small_fill(data=scenes)
    Experiment(config).prepare()
    with counted_reads() as reads:
        Experiment(config).prepare()
    assert not +reads


def test_a_worker_reads_no_day_of_the_history(experiment, scenes):
    answers = FORKSERVER.Queue()
    process = FORKSERVER.Process(target=open_in_worker, args=(experiment.plan.problem.model_dump_json(), answers))
    process.start()
    opening, reads = answers.get(timeout=60)
    process.join()
    assert (opening, reads) == ({}, {})


def test_a_worker_takes_files_that_were_touched_for_the_same_and_refuses_others(experiment, scenes):
    spec, day = experiment.plan.problem, list_rasters(scenes / "history")[0]
    day.touch()
    assert len(spec.opened(0).data.train) == 6
    alter(day)
    with pytest.raises(DataError, match="changed after the run had begun"):
        spec.opened(1)
