import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from miha.errors import DataError, StorageError
from miha.files import remove_unfinished, replacing, replacing_folder, write_json


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="was not written by MIHA"), replacing_folder(tmp_path / "home"):
        raise AssertionError("the block must not run")
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


def test_a_folder_that_was_written_here_is_replaced_whole(tmp_path):
    for content in ("old", "new"):
        with replacing_folder(tmp_path / "out") as folder:
            (folder / f"{content}.txt").write_text(content)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".miha", "new.txt"]


def test_a_failure_leaves_the_former_file_or_folder_and_nothing_else(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "kept.txt").write_text("kept")
    with pytest.raises(ValueError, match="broken"), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise ValueError("broken")
    with pytest.raises(ValueError, match="broken"), replacing_folder(tmp_path / "out") as folder:
        raise ValueError("broken")
    assert (tmp_path / "a.json").read_text() == "1\n"
    assert (tmp_path / "out" / "kept.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "out"]


def test_a_folder_that_cannot_take_its_place_leaves_the_former_one_there(tmp_path, monkeypatch):
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "kept.txt").write_text("kept")
    rename = Path.rename

    def refuse(path, target):
        if not path.name.startswith(".former-") and target == tmp_path / "out":
            raise OSError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError, match="cannot write"), replacing_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "kept.txt").exists()


def replace_and_die(out: Path, renames: int) -> None:
    """Write a folder in the place of another, and die when so many of the two renames are done."""
    done, rename = [], Path.rename

    def dying(path, target):
        if len(done) == renames:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(rename(path, target))

    Path.rename = dying
    with replacing_folder(out) as folder:
        (folder / "new.txt").write_text("new")


@pytest.mark.parametrize("renames", [0, 1])
def test_of_a_killed_process_the_former_folder_stays_and_nothing_else(tmp_path, renames):
    with replacing_folder(tmp_path / "a-b.zarr") as folder:
        (folder / "kept.txt").write_text("kept")
    process = multiprocessing.get_context("forkserver").Process(
        target=replace_and_die, args=(tmp_path / "a-b.zarr", renames)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a-b.zarr"]
    assert (tmp_path / "a-b.zarr" / "kept.txt").exists()


def test_a_place_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_json(tmp_path / "file" / "a.json", 1)
