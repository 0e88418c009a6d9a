"""Problems of one's own, as the documentation tells to write them."""

import html
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import miha
from flows.cli import app
from miha.errors import ArchiveError
from miha.files import write_json
from miha.problems.evaluation import trained_network
from miha.problems.samples import Samples
from miha.records.archive import read_archive
from miha.report.evaluate import evaluate
from miha.report.exports import write_summary
from miha.report.page import write_report
from tests.support.processes import environment
from tests.support.tiny import TinyNet, TinyProblem

PAGE = Path(__file__).parents[2] / "docs" / "your-own-network.md"


class Renamed(miha.GapFill):
    """It says that it is another."""

    name: str = "gapfill"


class Examined(TinyProblem):
    """It has test samples, of another function than it learns."""

    def test(self):
        inputs = torch.rand(30, 2, generator=torch.Generator().manual_seed(1))
        return Samples(inputs, 5 * inputs[:, 0])


class Prepared(TinyProblem):
    """It loads what it has prepared."""

    def prepare(self, cache, seed, parallel_map):
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "prepared").write_text(str(seed))

    def load(self, cache, seed):
        assert (cache / "prepared").read_text() == str(seed)
        return super().load(cache, seed)


class Unmeasured(TinyProblem):
    """Its metric is no number."""

    def validation(self, output, batch):
        loss, metric, count = super().validation(output, batch)
        return loss, metric * float("nan"), count


class InCentimetres(TinyProblem):
    """Its metric is shown in a unit of which a target of 1 has a hundred."""

    def load(self, cache, seed):
        return super().load(cache, seed)._replace(unit=100.0)


def mean_errors(run, problem, samples):
    """Mean squared and mean absolute error of a run's best model."""
    inputs, target, _ = samples.tensors
    with torch.inference_mode():
        error = trained_network(problem, read_archive(run.model))(inputs) - target
    return {"validation_loss": float(error.square().mean()), "mae": float(error.abs().mean())}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_example_of_the_documentation_trains_and_is_evaluated(tmp_path, monkeypatch, workers):
    _, module, call = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert module.startswith("# wine.py")
    assert 'miha.optimize(miha.RunConfig(problem=Wine(hidden=64), run_dir="runs/own"))' in call
    (tmp_path / "wine.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    wine = importlib.import_module("wine")
    config = miha.RunConfig(
        problem=wine.Wine(hidden=64), run_dir=tmp_path / "run", schedule={"cycles": 1}, run={"workers": workers}
    )
    run = miha.optimize(config)
    assert len(run.history) == config.schedule.budget + 1, "the base is validated before the first epoch"
    assert run.history.accuracy.iloc[-1] > 0.9
    metrics, _ = evaluate(run.run_dir, tmp_path)
    assert metrics["accuracy"] == pytest.approx(run.best.epochs[-1].metrics["accuracy"])
    monkeypatch.undo()
    sys.modules.pop("wine")
    page = html.unescape(write_report(run.run_dir).read_text())
    assert (
        "The model could not be judged or drawn: the problem that the model was trained for cannot be built here: no problem 'wine:Wine'"
        in page
    )
    with pytest.raises(ArchiveError, match=r"no problem 'wine:Wine'.*PYTHONPATH"):
        evaluate(run.run_dir, tmp_path)


@pytest.mark.slow
def test_the_script_of_the_documentation_and_its_commands_run_as_they_stand(tmp_path, monkeypatch):
    script = re.search(r"```python\n(# tune_wine.py.*?)```", PAGE.read_text(), re.DOTALL)[1]
    commands = re.search(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    (tmp_path / "tune_wine.py").write_text(script)
    first, *others = commands.splitlines()
    assert first == "python tune_wine.py"
    result = subprocess.run(
        [sys.executable, "tune_wine.py"], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    accuracies = [float(one) for one in re.findall(r"'accuracy': ([0-9.]+)", result.stdout)]
    assert len(accuracies) == 2
    assert min(accuracies) > 0.9
    assert (tmp_path / "runs" / "wine.png").exists()
    monkeypatch.chdir(tmp_path)
    for command in others:
        program, *arguments = command.split()
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert (program, result.exit_code) == ("miha", 0), result.output
    network = torch.export.load("wine.pt2").module()
    assert network(torch.zeros(5, 13)).shape == (5, 3)


def test_a_model_is_evaluated_on_validation_samples_where_there_are_no_others(tiny_config, tmp_path):
    run = miha.optimize(tiny_config())
    metrics, judgement = evaluate(run.run_dir, tmp_path)
    expected = mean_errors(run, TinyProblem(), TinyProblem().load(tmp_path, 0).valid)
    assert {key: metrics[key] for key in expected} == pytest.approx(expected)
    assert metrics["validation_loss"] == pytest.approx(run.best.valid_loss)
    assert judgement.title == "validation samples"
    assert judgement.table.miha.to_dict() == {key: metrics[key] for key in expected}
    assert judgement.lower_is_better is None, "a loss and whatever the metric is"


def test_a_model_is_evaluated_on_its_test_samples_if_it_has_any(tiny_config, tmp_path):
    run = miha.optimize(tiny_config(problem=Examined()))
    metrics, judgement = evaluate(run.run_dir, tmp_path)
    expected = mean_errors(run, Examined(), Examined().test())
    assert metrics["test_loss"] == pytest.approx(expected["validation_loss"])
    assert metrics["mae"] == pytest.approx(expected["mae"])
    assert metrics["test_loss"] > 10 * run.best.valid_loss
    assert judgement.title == "test samples"


def test_the_metric_has_the_unit_of_the_data_and_the_loss_has_not(tiny_config, tmp_path):
    run = miha.optimize(tiny_config(problem=InCentimetres()))
    metrics, _ = evaluate(run.run_dir, tmp_path)
    expected = mean_errors(run, TinyProblem(), TinyProblem().load(tmp_path, 0).valid)
    assert metrics["validation_loss"] == pytest.approx(expected["validation_loss"])
    assert metrics["mae"] == pytest.approx(100 * expected["mae"])


def test_what_a_run_prepared_and_did_not_keep_is_prepared_anew_to_evaluate_it(tiny_config, tmp_path):
    run = miha.optimize(tiny_config(problem=Prepared(), seed=3, run={"keep": "final"}))
    assert not (run.run_dir / "cache").exists()
    assert evaluate(run.run_dir, tmp_path)[0]["validation_loss"] == pytest.approx(run.best.valid_loss)


def test_the_command_line_evaluates_it_and_says_on_what(tiny_config, tmp_path):
    run = miha.optimize(tiny_config())
    command = ["evaluate", "--run-dir", str(run.run_dir), "--data", str(tmp_path), "--json", str(tmp_path / "all.json")]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "validation samples" in result.output
    metrics = json.loads((tmp_path / "all.json").read_text())
    for name in ("validation_loss", "mae"):
        assert re.search(rf"^{name} +{metrics[name]:.3f}", result.output, re.MULTILINE)


def test_the_summary_has_the_loss_that_was_judged(tiny_config, tmp_path):
    run = miha.optimize(tiny_config())
    metrics, _ = evaluate(run.run_dir, tmp_path)
    write_summary(tmp_path / "summary.json", metrics)
    assert json.loads((tmp_path / "summary.json").read_text())["validation_loss"] == metrics["validation_loss"]


class WiderNet(TinyNet):
    """With the layers of the other, and a head of another shape."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(16, 2)


def test_a_model_of_another_network_is_not_evaluated(tiny_config, tmp_path, monkeypatch):
    run = miha.optimize(tiny_config())
    monkeypatch.setattr("tests.support.tiny.TinyNet", WiderNet)
    with pytest.raises(ArchiveError, match="made for another network: size mismatch for head"):
        evaluate(run.run_dir, tmp_path)


def test_a_model_of_a_network_with_other_layers_is_not_evaluated(tiny_config, tmp_path, monkeypatch):
    run = miha.optimize(tiny_config())
    monkeypatch.setattr("tests.support.tiny.TinyNet", lambda: torch.nn.Sequential(torch.nn.Linear(2, 1)))
    with pytest.raises(ArchiveError, match="made for another network"):
        evaluate(run.run_dir, tmp_path)


def test_a_metric_that_is_no_number_is_evaluated_all_the_same(tiny_config, tmp_path):
    run = miha.optimize(tiny_config(problem=Unmeasured()))
    metrics, _ = evaluate(run.run_dir, tmp_path)
    write_json(tmp_path / "metrics.json", metrics)
    assert metrics["validation_loss"] == pytest.approx(run.best.valid_loss)
    assert metrics["mae"] is None


def test_a_subclass_is_known_by_where_it_can_be_imported_from_whatever_it_calls_itself(simulated):
    config = miha.RunConfig(problem=Renamed(data=simulated))
    again = miha.RunConfig.model_validate_json(config.model_dump_json())
    assert type(again.problem) is Renamed
    assert again == config
