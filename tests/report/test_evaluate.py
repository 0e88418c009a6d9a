import json
import shutil

import pytest

import miha
from miha.errors import ArchiveError, RunError
from miha.gapfill.judging import judge
from miha.report.evaluate import evaluate


def test_metrics_say_what_won_and_what_it_cost(run, evaluated):
    metrics, _ = evaluated
    assert metrics["epochs"] == len(run.history) - 1 == 6
    assert metrics["best"] == run.best.name
    assert metrics["hyperparameters"] == run.best.hyperparameters.model_dump(mode="json")
    json.dumps(metrics, allow_nan=False)


def test_the_best_archive_is_the_one_that_is_judged(run, evaluated, simulated):
    metrics, judgement = evaluated
    expected = judge(simulated, {"miha": run.run_dir / "model" / "model_best.zip"})
    assert metrics["mae"] == expected.metrics["mae"]
    assert judgement.table.equals(expected.table)


def test_another_run_is_a_column_under_the_name_of_its_folder(tiny_config, tmp_path):
    run = miha.optimize(tiny_config())
    for name, column in (("other", "other"), ("miha", "miha (run)")):
        other = miha.optimize(tiny_config(name, seed=1))
        metrics, judgement = evaluate(run.run_dir, tmp_path, against=other.run_dir)
        assert list(judgement.table.columns) == [column, "miha"]
        assert metrics["methods"][column]["validation_loss"] == pytest.approx(other.best.valid_loss)
        assert metrics["validation_loss"] == pytest.approx(run.best.valid_loss)


def test_a_folder_without_a_model_is_reported(tmp_path, simulated):
    with pytest.raises(ArchiveError, match=r"no such archive: .*model_best\.zip"):
        evaluate(tmp_path, simulated)


def test_a_run_without_a_configuration_is_reported_with_the_remedy(run, simulated, tmp_path):
    copy = shutil.copytree(run.run_dir, tmp_path / "copy")
    (copy / "config.json").unlink()
    with pytest.raises(RunError, match=r"config\.json cannot be read \(No such file.*Run optimize again to restore it"):
        evaluate(copy, simulated)
