"""DVC as its users call it: real `dvc` in a clone of this repository, on a tiny configuration."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from miha.products.record import StackRecord
from tests.support.downloads import mod11a1

ROOT = Path(__file__).parents[1]
TINY = {
    "simulated": {"tiny": {"days": 12, "height": 32, "width": 32, "seed": 0}},
    "published": [],
    "products": {},
    "datasets": {"tiny": {"schedule": {"fixing_epochs": 2}}},
    "optimize": {
        "seed": 0,
        "problem": {"train_samples": 6, "valid_samples": 4, "width": 4, "levels": 2, "trees": 12},
        "schedule": {
            "initial_epochs": 1,
            "cycles": 2,
            "insist": True,
            "population_size": 2,
            "candidate_epochs": 1,
            "fixing_epochs": 1,
        },
    },
}
DVC_ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


class Clone:
    """A checkout with the tiny parameters, and a Prefect data base of its own."""

    def __init__(self, folder: Path, params: dict | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "params.yaml").write_text(yaml.safe_dump(params or TINY))
        self.git("init", "--quiet")
        self.git("config", "user.email", "test@example.org")
        self.git("config", "user.name", "test")
        self.dvc("init", "--quiet")
        shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "start")

    @property
    def environment(self) -> dict[str, str]:
        home = {"PREFECT_HOME": str(self.folder.parent / "prefect")}
        return {
            **{key: value for key, value in os.environ.items() if key != "MIHA_DATA_DIR"},
            **DVC_ENVIRONMENT,
            **home,
        }

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True)

    def dvc(self, *arguments: str, check: bool = True) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"dvc {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def lock(self) -> str:
        return (self.folder / "dvc.lock").read_text()


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory) -> Clone:
    """A clone in which `dvc repro evaluate@tiny` has run undisturbed."""
    clone = Clone(tmp_path_factory.mktemp("dvc") / "clone")
    clone.dvc("repro", "evaluate@tiny")
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message", "run")
    return clone


def test_a_second_repro_is_a_no_op(reproduced):
    before = reproduced.lock()
    started = time.monotonic()
    output = reproduced.dvc("repro", "evaluate@tiny")
    assert time.monotonic() - started < 10
    assert "Data and pipelines are up to date" in output
    assert reproduced.lock() == before


@pytest.mark.slow
def test_the_lock_is_the_same_when_all_is_done_again_from_nothing(reproduced, tmp_path):
    again = Clone(tmp_path / "clone")
    again.dvc("repro", "evaluate@tiny")
    assert again.lock() == reproduced.lock()


@pytest.mark.slow
def test_a_killed_repro_continues_to_the_same_lock(reproduced, tmp_path):
    clone = Clone(tmp_path / "clone")
    command = [sys.executable, "-m", "dvc", "repro", "evaluate@tiny"]
    process = subprocess.Popen(
        command,
        cwd=clone.folder,
        env=clone.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(clone.folder / "runs" / "tiny" / "population" / "1_0_model.zip")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    trained = (clone.folder / "runs" / "tiny" / "timings.csv").read_text().splitlines()
    time.sleep(3)  # the workers notice that their parent is gone
    clone.dvc("repro", "evaluate@tiny")
    assert clone.lock() == reproduced.lock()
    timings = [line.split(",")[0] for line in (clone.folder / "runs" / "tiny" / "timings.csv").read_text().splitlines()]
    assert timings[:2] == ["base", "init"]
    assert timings.count("init") == 1, "initial training was done twice"
    assert [line.split(",")[0] for line in trained[:2]] == ["base", "init"]


def wait_for(file: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not appear in {seconds} s"
        time.sleep(0.02)


def test_a_pulled_model_fills_the_same_raster(reproduced, tmp_path):
    remote = tmp_path / "remote"
    reproduced.dvc("remote", "add", "--force", "--default", "shared", str(remote))
    reproduced.dvc("push")
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "--quiet", str(reproduced.folder), str(other)], check=True)
    environment = {**os.environ, **DVC_ENVIRONMENT}

    def call(*command: str) -> None:
        subprocess.run(command, cwd=other, env=environment, check=True, capture_output=True)

    call("dvc", "remote", "add", "--default", "shared", str(remote))
    call("dvc", "pull", "runs/tiny/model", "data/scenes/tiny")
    fill = [
        "miha",
        "fill",
        "data/scenes/tiny/gapped/20210507_gap30.tif",
        "--model",
        "runs/tiny/model/model_best.zip",
        "--data",
        "data/scenes/tiny",
        "--out",
    ]
    call(*fill, "filled")
    subprocess.run(
        [*fill, str(tmp_path / "mine")], cwd=reproduced.folder, env=environment, check=True, capture_output=True
    )
    assert (other / "filled" / "20210507_gap30.tif").read_bytes() == (
        tmp_path / "mine" / "20210507_gap30.tif"
    ).read_bytes()


@pytest.mark.slow
def test_experiments_are_compared_by_error_epochs_and_hyperparameters(reproduced):
    before = reproduced.lock()
    reproduced.dvc(
        "exp", "run", "--set-param", "optimize.schedule.cycles=1", "--set-param", "optimize.seed=7", "evaluate@tiny"
    )
    table = pd.read_csv(io.StringIO(reproduced.dvc("exp", "show", "--csv")))
    assert {"mae.mean", "mae.gaps.05", "optimizer", "lr", "batch_size", "activations"} <= set(table.columns)
    budgets = set(table.epochs.dropna())
    assert budgets == {1 + 2 * (2 * 1 + 2) + 1, 1 + 1 * (2 * 1 + 2) + 1}
    assert set(table["optimize.seed"].dropna()) == {0, 7}
    assert table["mae.mean"].dropna().nunique() == 2
    reproduced.git("checkout", "--force", ".")
    reproduced.dvc("checkout", "--force")
    assert reproduced.lock() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimize": {**TINY["optimize"], "sched": {}}}, "sched: no such key"),
        ({"datasets": {"tiny": {"start": {"lr": -1}}}}, "start.lr"),
    ],
)
def test_a_mistake_in_params_is_reported_by_the_stage(tmp_path, change, message):
    clone = Clone(tmp_path / "clone", {**TINY, **change})
    output = clone.dvc("repro", "optimize@tiny", check=False)
    assert message in output
    assert not (clone.folder / "runs" / "tiny" / "model").exists()


@pytest.mark.slow
def test_a_download_of_a_product_is_prepared_as_the_page_says_and_anew_when_it_changes(tmp_path):
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    (entry,) = (block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "download:" in block)
    clone = Clone(tmp_path / "clone", {**TINY, **yaml.safe_load(entry)})
    stack = clone.folder / "data" / "scenes" / "lst"
    mod11a1(clone.folder / "data" / "raw" / "lst", days=3)
    clone.dvc("repro", "stack@lst")
    (stack / "static").mkdir()
    (stack / "static" / "note").touch()
    assert len(list((stack / "history").glob("*.tif"))) == 3
    record = StackRecord.model_validate_json((stack / "stack.json").read_text())
    assert record.summary().startswith("mod11a1 LST_Day_1km: 3 days")
    assert "didn't change" in clone.dvc("repro", "stack@lst")
    mod11a1(clone.folder / "data" / "raw" / "lst", days=4)
    clone.dvc("repro", "stack@lst")
    assert len(list((stack / "history").glob("*.tif"))) == 4
    assert (stack / "static" / "note").exists()


def test_an_unknown_data_set_is_reported(tmp_path):
    clone = Clone(tmp_path / "clone", {**TINY, "published": ["madrid", "atlantis"]})
    assert "evaluate@atlantis" in clone.dvc("repro", "evaluate@atlantis", check=False)
    assert "unknown data set 'atlantis'" in clone.dvc("repro", "fetch@atlantis", check=False)
