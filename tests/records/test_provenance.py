import re
import subprocess

import pytest

from miha.errors import RunError
from miha.records.provenance import _git_revision, read_provenance, write_provenance

CONTENT = {
    "configuration": {
        "schedule": {"cycles": 2},
        "unchanged": False,
        "replay": (),
        "run": {"keep": "final", "workers": None},
        "seed": 7,
    },
    "data": "/data",
    "data_digest": "d" * 64,
    "epochs": 10,
    "device": "cpu",
}


def checkout(folder):
    """A git checkout with one commit of what is in the folder."""
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def package(folder):
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    return folder


def test_the_revision_of_mihas_own_checkout_is_reported_with_a_mark_if_it_has_changes(tmp_path):
    miha = package(tmp_path / "miha")
    checkout(tmp_path)
    revision = _git_revision(miha)
    assert re.fullmatch("[0-9a-f]{40}", revision)
    (miha / "__init__.py").write_text("changed = True")
    assert _git_revision(miha) == f"{revision}-dirty"


@pytest.mark.parametrize("place", [".venv/lib/python3.11/site-packages/miha", "vendor/miha"])
def test_a_strangers_checkout_that_miha_lies_in_says_nothing_of_its_revision(tmp_path, place):
    miha = package(tmp_path / place)
    (tmp_path / "their.py").write_text("")
    checkout(tmp_path)
    assert _git_revision(miha) is None


def test_outside_a_checkout_there_is_no_revision(tmp_path):
    assert _git_revision(package(tmp_path / "miha")) is None


def test_without_git_there_is_no_revision(tmp_path, monkeypatch):
    miha = package(tmp_path / "miha")
    checkout(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _git_revision(miha) is None


def test_what_is_written_is_read_back_with_versions_and_clock(tmp_path):
    write_provenance(tmp_path, CONTENT)
    read = read_provenance(tmp_path)
    content = read.model_dump()
    assert {key: content[key] for key in CONTENT} == CONTENT
    assert read.configuration.run.keep == "final"
    assert {"torch", "numpy"} <= content["libraries"].keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", read.finished)
    assert read.miha
    assert content["python"].startswith("3.")


def test_a_run_that_has_not_ended_is_reported(tmp_path):
    with pytest.raises(RunError, match=r"is not the directory of a finished run: it has no provenance\.json"):
        read_provenance(tmp_path)


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("epochs", {"epochs": "many"}, r"provenance\.json is damaged: epochs: .* Remove it and run optimize again\."),
        (
            "configuration.run.keep",
            {"configuration": {**CONTENT["configuration"], "run": {"keep": "some"}}},
            "'all' or",
        ),
        ("configuration.schedule", {"configuration": {"unchanged": False, "run": {"keep": "all"}}}, "Field required"),
    ],
)
def test_damage_is_reported_with_file_key_and_remedy(tmp_path, key, content, message):
    write_provenance(tmp_path, CONTENT | content)
    with pytest.raises(RunError, match=message) as caught:
        read_provenance(tmp_path)
    assert f"{tmp_path / 'provenance.json'} is damaged: {key}: " in str(caught.value)
