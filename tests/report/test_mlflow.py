import pytest
from typer.testing import CliRunner

pytest.importorskip("mlflow", reason="needs MLflow: pip install 'miha[mlflow]'")

from mlflow.telemetry import get_telemetry_client
from mlflow.tracking import MlflowClient

import miha
from flows.cli import app
from miha.events import observed_by
from miha.report.mlflow import MLflow


def stored(folder):
    """All runs of a store, by name, and how to ask for more."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "miha"]
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}, client


def test_a_run_and_its_candidates_are_kept_and_a_run_that_continues_goes_on_in_the_same(tiny_config, tmp_path):
    config = tiny_config()
    with MLflow(tmp_path / "flow") as sink, observed_by(sink):
        run = miha.optimize(config)
    with MLflow(tmp_path / "flow") as sink, observed_by(sink):
        miha.optimize(config)
    runs, client = stored(tmp_path / "flow")
    history, population = run.history, run.population
    assert set(runs) == {"run", *(f"{cycle}_{number}" for cycle in (1, 2) for number in range(4))}
    assert {one.info.status for one in runs.values()} == {"FINISHED"}

    def curve(name, key):
        return {one.step: one.value for one in client.get_metric_history(runs[name].info.run_id, key)}

    mainline = history[history.candidate.isna()]
    own = mainline[mainline.stage != "candidate"]
    assert curve("run", "loss/validation") == pytest.approx(dict(zip(own.epoch, own.valid_loss, strict=True)))
    assert curve("run", "metric/mae") == pytest.approx(dict(zip(own.epoch, own.mae, strict=True)))
    one = history[(history.cycle == 2) & (history.candidate == 3)]
    assert curve("2_3", "loss/training") == pytest.approx(dict(zip(one.epoch, one.train_loss, strict=True)))

    data = runs["run"].data
    assert (data.params["schedule.cycles"], data.params["start.batch_size"]) == ("2", "16")
    assert data.tags["model"] == str(run.model)
    assert data.metrics["best/loss/validation"] == pytest.approx(run.best.valid_loss)
    for row in population.itertuples():
        data = runs[f"{row.cycle}_{row.candidate}"].data
        assert data.tags["mlflow.parentRunId"] == runs["run"].info.run_id
        assert data.params["change"] == row.change
        assert data.tags["selected"] == str(row.selected).lower()
        assert data.metrics["fitness"] == pytest.approx(row.fitness)
    assert get_telemetry_client() is None, "nothing is sent anywhere"


@pytest.mark.slow
def test_the_command_line_writes_it_too(tmp_path):
    command = ["optimize", "--problem", "tests.support.tiny:TinyProblem", "--run-dir", str(tmp_path / "run")]
    command += ["--no-prefect", "--workers", "2", "--mlflow", str(tmp_path / "flow")]
    for one in ("initial_epochs=1", "cycles=1", "final_epochs=1"):
        command += ["--set", f"schedule.{one}"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    runs, _ = stored(tmp_path / "flow")
    assert len(runs) == 5
    assert all("loss/validation" in run.data.metrics for run in runs.values())
