"""Problems of one's own, as the documentation tells to write them."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import miha
from miha.errors import ArchiveError
from miha.report.evaluate import evaluate
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
    assert (
        "No maps: the problem that the model was trained for cannot be built here: no problem"
        in write_report(run.run_dir).read_text()
    )
    with pytest.raises(ArchiveError, match=r"no problem 'wine:Wine'.*PYTHONPATH"):
        evaluate(run.run_dir, tmp_path)


class Renamed(miha.GapFill):
    name: str = "gapfill"


def test_a_subclass_is_known_by_where_it_can_be_imported_from_whatever_it_calls_itself(simulated):
    config = miha.RunConfig(problem=Renamed(data=simulated))
    again = miha.RunConfig.model_validate_json(config.model_dump_json())
    assert type(again.problem) is Renamed
    assert again == config
