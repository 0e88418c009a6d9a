import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

import miha
from flows.cli import app
from miha.events import observed_by
from miha.report.tensorboard import TensorBoard


def curve(folder, name):
    found = EventAccumulator(str(folder)).Reload()
    return {one.step: one.value for one in found.Scalars(name)}


def test_curves_of_mainline_and_candidates_are_those_of_the_history(tiny_config, tmp_path):
    with TensorBoard(tmp_path / "board") as board, observed_by(board):
        history = miha.optimize(tiny_config()).history
    mainline = history[history.candidate.isna()]
    for column, name in (("valid_loss", "loss/validation"), ("mae", "metric/mae"), ("lr", "lr")):
        expected = dict(zip(mainline.epoch, mainline[column], strict=True))
        assert curve(tmp_path / "board" / "mainline", name) == pytest.approx(expected, rel=1e-6)
    one = history[(history.cycle == 2) & (history.candidate == 3)]
    expected = dict(zip(one.epoch, one.train_loss, strict=True))
    assert curve(tmp_path / "board" / "2_3", "loss/training") == pytest.approx(expected, rel=1e-6)


def test_epochs_before_a_race_is_decided_belong_to_the_candidate_and_not_to_the_mainline(tiny_config, tmp_path):
    with TensorBoard(tmp_path / "board") as board, observed_by(board):
        history = miha.optimize(tiny_config(schedule={"racing": 1})).history
    first = history[(history.cycle == 1) & (history.candidate == 0)]
    for name, rows in (("mainline", history[history.candidate.isna()]), ("1_0", first)):
        expected = dict(zip(rows.epoch, rows.valid_loss, strict=True))
        assert curve(tmp_path / "board" / name, "loss/validation") == pytest.approx(expected, rel=1e-6)


def test_the_command_line_writes_them_too(tmp_path):
    schedule = ("initial_epochs=1", "cycles=0", "final_epochs=1")
    command = ["optimize", "--problem", "tests.support.tiny:TinyProblem", "--run-dir", str(tmp_path / "run")]
    command += ["--no-prefect", "--workers", "1", "--tensorboard", str(tmp_path / "board")]
    for one in schedule:
        command += ["--set", f"schedule.{one}"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert len(curve(tmp_path / "board" / "mainline", "loss/validation")) == 3
