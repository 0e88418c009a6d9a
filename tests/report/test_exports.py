import json

import pandas as pd
import pytest

import miha
from miha.errors import DataError
from miha.report.evaluate import evaluate
from miha.report.exports import write_plots, write_summary


def test_what_is_plotted_is_the_same_to_the_byte(run, evaluated, simulated, tmp_path):
    _, judgement = evaluated
    for name in ("a", "b"):
        write_plots(tmp_path / name, run.run_dir, simulated, judgement)
    files = [
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in "ab"
    ]
    assert files[0] == files[1]
    assert set(files[0]) == {
        *(".miha", "learning.csv", "errors.csv"),
        *(f"maps/gap_{size}.png" for size in ("05", "40", "95")),
    }
    assert list(pd.read_csv(tmp_path / "a" / "errors.csv").columns) == ["gap", "mae"]
    learning = pd.read_csv(tmp_path / "a" / "learning.csv")
    assert learning.epoch.tolist() == [0, 1, 2, 3, 4]
    assert "candidate" not in learning


def test_a_problem_without_figures_and_cases_has_its_learning_curve_plotted(tiny_config, tmp_path):
    run = miha.optimize(tiny_config())
    _, judgement = evaluate(run.run_dir, tmp_path)
    write_plots(tmp_path / "plots", run.run_dir, tmp_path, judgement)
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {".miha", "learning.csv"}


def test_a_folder_of_something_else_is_not_replaced_by_plots(run, evaluated, simulated, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    _, judgement = evaluated
    with pytest.raises(DataError, match="was not written by MIHA"):
        write_plots(tmp_path, run.run_dir, simulated, judgement)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_summary_is_flat_and_has_the_runs_own_figures_and_hyperparameters_alone(run, evaluated, tmp_path):
    metrics, _ = evaluated
    write_summary(tmp_path / "summary.json", metrics)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["mae"] == metrics["mae"]
    assert (summary["best"], summary["epochs"]) == (run.best.name, 6)
    point = run.best.hyperparameters
    assert (summary["optimizer"], summary["lr"], summary["dropout"]) == (point.optimizer, point.lr, point.dropout)
    assert summary["activations"].split(", ") == [
        f"{layer} {name}" for layer, name in sorted(point.activations.items())
    ]
    assert not {"methods", "hyperparameters"} & set(summary)
