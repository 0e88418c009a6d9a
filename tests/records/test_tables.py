import pandas as pd
import pytest

from miha.errors import RunError
from miha.evolution.change import UNCHANGED, Change
from miha.evolution.point import Hyperparameters
from miha.records.record import Epoch, StageId, StageRecord
from miha.records.selection import CandidateOutcome, Selection
from miha.records.tables import history_frame, population_frame, read_tables

POINT = Hyperparameters(optimizer="SGD", batch_size=8)
CHANGES = [
    UNCHANGED,
    Change(operator="lr", target="lr", before=0.01, after=0.05),
    Change(operator="dropout", target="dropout", before=None, after=0.1, crossed=True),
]
WORDS = ["unchanged", "lr 0.01→0.05", "crossover: dropout as written→0.1"]


def record(stage, parent, epoch):
    losses = {"train_loss": 0.5 if epoch else None, "valid_loss": 1.0 / (epoch + 1), "metrics": {"mae": 0.25}}
    losses |= {"valid_loss": None} if stage.candidate == 2 else {"shares": (losses["valid_loss"], 0.0)}
    last = Epoch(epoch=epoch, batch_size=8, optimizer="SGD", lr=0.01, **losses)
    return StageRecord(stage=stage, parent=parent, change=UNCHANGED, digest="d", hyperparameters=POINT, epochs=(last,))


BASE = StageId(kind="base", cycle=0)
INITIAL = StageId(kind="initial", cycle=0)
CANDIDATES = [StageId(kind="candidate", cycle=1, candidate=number) for number in range(3)]
FIXING = StageId(kind="fixing", cycle=1)
RECORDS = [
    record(BASE, None, 0),
    record(INITIAL, BASE, 1),
    *(record(stage, INITIAL, 2) for stage in CANDIDATES),
    record(FIXING, CANDIDATES[1], 3),
    record(StageId(kind="final", cycle=1), FIXING, 4),
]
OUTCOMES = [
    CandidateOutcome(
        cycle=1,
        candidate=number,
        change=change,
        hyperparameters=POINT,
        status="diverged" if number == 2 else "ok",
        **({} if number == 2 else {"fitness": 0.5 * number, "level": 0.25, "rate": 0.125, "noise": 0.0625 * number}),
    )
    for number, change in enumerate(CHANGES)
]
SELECTION = Selection(cycle=1, selected=1, criterion="c", digests=("a", "b", "c"), outcomes=tuple(OUTCOMES))


@pytest.fixture
def tables(tmp_path):
    history_frame(RECORDS).to_csv(tmp_path / "history.csv", index=False)
    population_frame([SELECTION]).to_csv(tmp_path / "population.csv", index=False)
    return read_tables(tmp_path)


def test_the_history_has_a_row_for_each_epoch_of_each_stage(tables):
    history, _ = tables
    assert history.stage.tolist() == ["base", "initial", "candidate", "candidate", "candidate", "fixing", "final"]
    assert history.epoch.tolist() == [0, 1, 2, 2, 2, 3, 4]
    assert history.candidate.tolist() == [pd.NA, pd.NA, 0, 1, 2, pd.NA, pd.NA]
    assert history.valid_loss.isna().tolist() == [False, False, False, False, True, False, False]
    assert history.train_loss.isna().tolist() == [True] + [False] * 6, "the base was not trained"
    assert "shares" not in history
    assert history.mae.tolist() == [0.25] * 7
    pd.testing.assert_frame_equal(history, history_frame(RECORDS), check_dtype=False)


def test_the_population_tells_each_change_in_words_and_in_parts(tables):
    _, population = tables
    assert population.change.tolist() == WORDS
    assert population.operator.tolist() == ["", "lr", "dropout"]
    assert population.target.tolist() == ["", "lr", "dropout"]
    assert population.before.tolist() == ["", "0.01", ""]
    assert population.after.tolist() == ["", "0.05", "0.1"]
    assert population.crossed.tolist() == [False, False, True]


def test_the_population_tells_how_each_candidate_fared(tables):
    _, population = tables
    assert population.candidate.tolist() == [0, 1, 2]
    assert population.status.tolist() == ["ok", "ok", "diverged"]
    assert population.selected.tolist() == [False, True, False]
    assert population.fitness[:2].tolist() == [0.0, 0.5]
    assert population.noise[:2].tolist() == [0.0, 0.0625]
    assert population.loc[2, ["fitness", "level", "rate", "noise"]].isna().all()


@pytest.mark.parametrize("name", ["history.csv", "population.csv"])
@pytest.mark.parametrize(
    "damage", [lambda file: file.unlink(), lambda file: file.write_text("")], ids=["gone", "empty"]
)
def test_a_table_that_cannot_be_read_is_named_with_what_to_do(tmp_path, tables, name, damage):
    damage(tmp_path / name)
    with pytest.raises(
        RunError, match=r"holds no history\.csv and population\.csv of a run .*Run the same optimize again"
    ):
        read_tables(tmp_path)


def test_a_run_without_cycles_has_an_empty_population(tmp_path):
    history_frame(RECORDS[:1]).to_csv(tmp_path / "history.csv", index=False)
    population_frame([]).to_csv(tmp_path / "population.csv", index=False)
    history, population = read_tables(tmp_path)
    assert (len(history), len(population)) == (1, 0)
    assert population.columns.tolist() == population_frame([SELECTION]).columns.tolist()


@pytest.mark.parametrize("metric", ["valid_loss", "epoch", "lr"])
def test_a_metric_with_the_name_of_a_column_stands_beside_that_column(metric):
    losses = {"train_loss": 0.5, "valid_loss": 2.0, "metrics": {metric: 9.0}}
    epoch = Epoch(epoch=3, batch_size=8, optimizer="SGD", lr=0.01, **losses)
    trained = RECORDS[1].model_copy(update={"epochs": (epoch,)})
    (row,) = history_frame([trained]).to_dict("records")
    assert (row["epoch"], row["valid_loss"], row["lr"]) == (3, 2.0, 0.01)
    assert row[f"metric_{metric}"] == 9.0
