"""Rooms of the library stand alone: the tuner needs nothing of rasters, forests, Prefect or DVC."""

import re
import subprocess
import tomllib
from itertools import chain

import pytest

from tests.support.processes import BIN, ROOT, environment

ABSENT = ("rasterio", "sklearn", "scipy", "prefect", "dvc")
# Python imports sitecustomize in every process, so also in those that train; there the libraries are not to be found.
BLOCKER = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
RUN = """
import sys
import miha
from tests.support.tiny import TinyProblem
from miha.report.evaluate import evaluate

if __name__ == "__main__":
    schedule = {"initial_epochs": 1, "cycles": 1, "population_size": 3, "candidate_epochs": 1, "fixing_epochs": 1}
    config = miha.RunConfig(
        problem=TinyProblem(), run_dir=sys.argv[1], schedule=schedule, run={"workers": int(sys.argv[2])}
    )
    run = miha.optimize(config)
    print((run.history.epoch > 0).sum(), config.schedule.budget)
    print(run.best.valid_loss, evaluate(run.run_dir, run.run_dir)[0]["validation_loss"])
"""


@pytest.fixture
def poor(tmp_path):
    """Runs code where these libraries are not installed; returns the finished process."""
    (tmp_path / "poor").mkdir()
    (tmp_path / "poor/sitecustomize.py").write_text(BLOCKER)
    env = environment(tmp_path / "home")
    env["PYTHONPATH"] = f"{tmp_path / 'poor'}:{env['PYTHONPATH']}"

    def run(code, *arguments):
        (tmp_path / "script.py").write_text(code)
        command = [str(BIN / "python"), str(tmp_path / "script.py"), *map(str, arguments)]
        return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.mark.parametrize("library", ABSENT)
def test_these_libraries_are_installed_here_and_not_to_be_found_there(poor, library):
    present = subprocess.run([str(BIN / "python"), "-c", f"import {library}"], capture_output=True, check=False)
    assert present.returncode == 0
    assert f"No module named '{library}'" in poor(f"import {library}").stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_the_tuner_trains_reports_and_evaluates_without_them(poor, tmp_path, workers):
    result = poor(RUN, tmp_path / "run", workers)
    assert result.returncode == 0, result.stderr
    counted, losses = result.stdout.splitlines()
    assert counted == "6 6"
    trained, evaluated = map(float, losses.split())
    assert evaluated == pytest.approx(trained)
    assert (tmp_path / "run" / "report.html").exists()


def test_digits_are_configured_without_them(poor):
    result = poor(
        "from miha.config import make_config\nprint(make_config({'problem': {'name': 'mnist'}}).problem.name)"
    )
    assert result.stdout == "mnist\n", result.stderr


def test_gap_filling_says_what_it_lacks_and_how_to_get_it(poor):
    result = poor("from miha.config import make_config\nmake_config({})")
    assert "miha.errors.ConfigError: the configuration is wrong" in result.stderr
    assert re.search(
        r"problem 'gapfill' needs (rasterio|scipy|sklearn): pip install 'miha\[rasters\]'$", result.stderr.strip()
    )


def test_what_gap_filling_asks_to_install_can_be_installed():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"rasterio", "scikit-learn", "scipy"} <= {re.split("[<>=]", one)[0] for one in extras["rasters"]}


def test_a_form_lists_the_problems_that_can_be_imported(poor):
    result = poor(
        "from miha.config import RunConfig\n"
        "print(*(kind['title'] for kind in RunConfig.model_json_schema()['properties']['problem']['anyOf']))"
    )
    assert result.stdout == "Mnist module:Class of your own\n", result.stderr


def test_the_library_imports_neither_prefect_nor_dvc_for_any_of_its_rooms(tmp_path):
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "miha").rglob("*.py")
    )
    code = "\n".join(chain(("import sys",), (f"import {name}" for name in modules), ("print(*sys.modules)",)))
    result = subprocess.run([str(BIN / "python"), "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"miha.gapfill.problem", "miha.experiment"} <= set(result.stdout.split())
    assert not {"prefect", "dvc"} & set(result.stdout.split())
