"""Problems of one's own, as the documentation tells to write them."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import miha
from miha.errors import ArchiveError
from miha.report.page import write_report

PAGE = Path(__file__).parents[2] / "docs" / "your-own-network.md"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_example_of_the_documentation_trains(tmp_path, monkeypatch, workers):
    module, call = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert module.startswith("# wine.py")
    assert "miha.optimize(Wine(hidden=64)" in call
    (tmp_path / "wine.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    wine = importlib.import_module("wine")
    config = miha.RunConfig(run_dir=tmp_path / "run", schedule={"cycles": 1}, run={"workers": workers})
    run = miha.optimize(wine.Wine(hidden=64), config)
    assert len(run.history) == config.schedule.budget
    assert run.history.accuracy.iloc[-1] > 0.9
    monkeypatch.undo()
    sys.modules.pop("wine")
    with pytest.raises(ArchiveError, match=r"no problem 'wine:Wine'.*PYTHONPATH"):
        write_report(run.run_dir)
