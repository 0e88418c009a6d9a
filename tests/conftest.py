"""What tests share: a tiny problem that trains in milliseconds, and a tiny simulated data set."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miha.config import RunConfig, make_config
from miha.rasters.simulate import simulate
from tests.support.tiny import TinyProblem

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")


@pytest.fixture(scope="session", autouse=True)
def few_trees() -> Iterator[None]:
    """A small forest to compare fills with: with 300 trees a comparison takes more than twice as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("miha.gapfill.judging.BASELINE_TREES", 12)
        yield


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated data set, 12 days of 32x32 pixels; tests must not change it."""
    folder = tmp_path_factory.mktemp("data") / "simulated"
    simulate(folder, days=12, height=32, width=32, seed=3)
    return folder


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """The same, to be damaged by a test."""
    folder = tmp_path / "scenes"
    simulate(folder, days=12, height=32, width=32, seed=3)
    return folder


SMALL: dict[str, Any] = {
    "problem": {"width": 4, "levels": 2, "train_samples": 6, "valid_samples": 4, "trees": 12},
    "schedule": {"initial_epochs": 1, "cycles": 1, "population_size": 3, "candidate_epochs": 1, "fixing_epochs": 1},
    "run": {"workers": 1},
}


@pytest.fixture
def small_fill(simulated: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """Make a configuration that trains a tiny U-Net on the simulated data in a second or two."""

    def make(run_dir: str = "run", data: Path = simulated, **sections: dict[str, Any]) -> RunConfig:
        content = {key: {**SMALL.get(key, {}), **sections.get(key, {})} for key in {*SMALL, *sections}}
        content["problem"]["data"] = data
        return make_config({**content, "run_dir": tmp_path / run_dir})

    return make


@pytest.fixture
def tiny() -> TinyProblem:
    """A regression problem that trains in milliseconds."""
    return TinyProblem()


@pytest.fixture
def tiny_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """Make a configuration for the tiny problem, or another: two cycles of four candidates."""

    def make(run_dir: str = "run", **given: Any) -> RunConfig:
        schedule = {"initial_epochs": 2, "cycles": 2, "population_size": 4, "candidate_epochs": 2, "fixing_epochs": 1}
        schedule |= given.pop("schedule", {})
        run = {"workers": 1} | given.pop("run", {})
        start = {"batch_size": 16} | given.pop("start", {})
        sections = {"schedule": schedule, "run": run, "start": start}
        return make_config({"run_dir": tmp_path / run_dir, "problem": TinyProblem(), **sections, **given})

    return make


@pytest.fixture(scope="session")
def published_data() -> Path:
    """The folder of published data sets; tests that need it are skipped where there is none."""
    folder = os.environ.get("MIHA_DATA_DIR")
    if not folder or not (Path(folder) / "ssgp").is_dir():
        pytest.skip("needs the published data sets: set MIHA_DATA_DIR to a folder that holds ssgp/ and mnist/")
    return Path(folder)


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as MIHA_DATA_DIR may name it, with a small city of the shape of a published one."""
    city = tmp_path / "published" / "ssgp" / "Madrid"
    rng = np.random.default_rng(0)
    truth = (300 + rng.random((6, 5))).astype(np.float32)
    arrays = {f"training_sample/2019090{day}T000000.npy": truth + day for day in range(1, 4)}
    arrays["actual_matrix/20190905T000000.npy"] = truth
    arrays["additional_matrices/elevation_matrix.npy"] = rng.random((6, 5)) * 1000
    arrays["additional_matrices/biomes_matrix.npy"] = rng.integers(1, 4, (6, 5)).astype(float)
    for percent, named in ((5, 5), (27, 29), (94, 94)):
        gapped = truth.copy()
        gapped.ravel()[: round(30 * percent / 100)] = -100
        arrays[f"inputs/20190905T000000_{percent}_percent.npy"] = gapped
        arrays[f"model_outputs/A/20190905T000000_{named}_percent.npy"] = truth.astype(float) + percent
    for name, array in arrays.items():
        (city / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(city / name, array)
    listed = {f"Madrid/{name}": hashlib.sha256((city / name).read_bytes()).hexdigest() for name in arrays}
    monkeypatch.setattr("miha.datasets.checksums", lambda name: listed)
    monkeypatch.setenv("MIHA_DATA_DIR", str(tmp_path / "published"))
    return city
