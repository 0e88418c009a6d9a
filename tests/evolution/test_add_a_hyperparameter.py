"""The worked example of docs/add-a-hyperparameter.md, in a copy of the package with its one file more."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import miha, pandas, torch
from miha.config import make_config
from miha.records.archive import read_manifest
from tests.support.tiny import TinyProblem

norms = []
original = torch.nn.utils.clip_grad_norm_
def clip(parameters, norm):
    norms.append(norm)
    return original(parameters, norm)
torch.nn.utils.clip_grad_norm_ = clip

config = make_config({
    "problem": TinyProblem(), "run_dir": "run", "run": {"workers": 1},
    "schedule": {"initial_epochs": 1, "cycles": 1, "population_size": 3, "candidate_epochs": 1, "fixing_epochs": 1},
    "start": {"clip_norm": 2.0}, "search": {"operators": {"clip_norm": 1.0}, "max_clip_norm": 6.0},
})
run = miha.optimize(config)
changes = pandas.read_csv("run/population.csv")
assert set(changes.operator.dropna()) == {"clip_norm"}, changes
assert set(norms) == {2.0, *changes.after.dropna()}, (norms, changes)
assert set(changes.after.dropna()) < {0.2, 0.6, 6.0}, changes
assert read_manifest(run.model).record.hyperparameters.clip_norm in norms
"""


def test_the_file_of_the_example_is_all_that_a_new_hyperparameter_needs(tmp_path):
    page = (ROOT / "docs" / "add-a-hyperparameter.md").read_text()
    (block,) = re.findall(r"```python\n# (miha/\S+)\n(.*?)```", page, re.DOTALL)
    shutil.copytree(ROOT / "miha", tmp_path / "miha", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / block[0]).write_text(block[1])
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
