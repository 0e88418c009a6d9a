import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from miha.errors import RunError
from miha.files import replacing
from miha.locking import held
from miha.rundir import RunDirectory

FORKSERVER = multiprocessing.get_context("forkserver")


def hold_and_die(folder: Path) -> None:
    with held(folder, "choose another."), replacing(folder / "model.zip") as temporary:
        temporary.write_text("half a model")
        os.kill(os.getpid(), signal.SIGKILL)


def try_to_hold(folder: Path, answers) -> None:
    try:
        with held(folder, "choose another."):
            answers.put("held")
    except RunError as error:
        answers.put(str(error))


def test_a_second_process_is_refused_with_the_name_of_who_holds_the_folder(tmp_path):
    answers = FORKSERVER.Queue()
    with held(tmp_path / "run", "choose another."):
        process = FORKSERVER.Process(target=try_to_hold, args=(tmp_path / "run", answers))
        process.start()
        assert f"in use by process {os.getpid()}" in answers.get(timeout=30)
        process.join()


def test_a_dead_holder_counts_for_nothing(tmp_path):
    process = FORKSERVER.Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".unfinished-model*"))) == 1
    with held(tmp_path, "choose another."):
        pass
    with RunDirectory(tmp_path).held():
        assert sorted(path.name for path in tmp_path.iterdir()) == [".holder", ".lock"]


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match=r"file/run cannot be used as a folder.*choose another"),
        held(tmp_path / "file" / "run", "choose another."),
    ):
        raise AssertionError("the block must not run")
