"""The examples run as they stand, with fewer epochs."""

import re
import runpy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.processes import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
QUICK = ("regression", "two_inputs")


def test_each_example_is_short():
    assert len(EXAMPLES) == 4
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 60, path.name


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem in QUICK else pytest.mark.slow, id=path.stem) for path in EXAMPLES],
)
def test_an_example_compares_with_unchanged_and_draws(tmp_path, capsys, path):
    example = runpy.run_path(str(path))
    example["main"](7, tmp_path, run={"workers": 1}, start={"batch_size": 100}, show=False)
    output = capsys.readouterr().out
    assert re.search(r"^unchanged \{'valid_loss': \d+\.", output)
    assert re.search(r"^tuned     \{'valid_loss': \d+\.", output, re.MULTILINE)
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")


def cells_of(name, folder):
    """The outputs of each code cell of a notebook, executed in a folder from top to bottom."""
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    kernel = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=kernel).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def shows_an_image(outputs):
    return any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
def test_the_notebook_about_tuning_runs(tmp_path):
    *_, plot, network = cells_of("tune.ipynb", tmp_path)
    assert shows_an_image(plot)
    assert network[0]["data"]["text/plain"].startswith("tensor(")
    assert Path(tmp_path, "runs", "notebook", "report.html").exists()


def test_the_notebook_about_filling_runs(tmp_path):
    *_, maps, errors = cells_of("fill.ipynb", tmp_path)
    assert shows_an_image(maps)
    error, share = re.findall(r"([\d.]+)(?: K|%)", errors[0]["text"])
    assert 0 < float(error) < 1
    assert float(share) >= 90
