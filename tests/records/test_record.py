from pathlib import Path

import pytest
from pydantic import ValidationError

from miha.evolution.change import UNCHANGED
from miha.evolution.point import Hyperparameters
from miha.records.record import Epoch, StageId, StageRecord, model_path

STAGES = [
    (StageId(kind="base", cycle=0), "base", "model/model_base.zip"),
    (StageId(kind="initial", cycle=0), "init", "model/model_init.zip"),
    (StageId(kind="candidate", cycle=1, candidate=0), "1_0", "population/1_0_model.zip"),
    (StageId(kind="candidate", cycle=12, candidate=3), "12_3", "population/12_3_model.zip"),
    (StageId(kind="fixing", cycle=1), "1", "model/model_1.zip"),
    (StageId(kind="final", cycle=4), "final", "model/model_final.zip"),
]


@pytest.mark.parametrize(("stage", "name", "path"), STAGES)
def test_a_stage_has_a_name_and_a_place_in_the_run_directory(stage, name, path):
    assert stage.name == str(stage) == name
    assert stage.archive(Path("runs/mine")) == Path("runs/mine") / path


def test_the_best_model_lies_beside_those_of_the_mainline():
    assert model_path(Path("run"), "best") == Path("run/model/model_best.zip")


def test_a_stage_is_a_value():
    again = [StageId.model_validate_json(stage.model_dump_json()) for stage, *_ in STAGES]
    assert again == [stage for stage, *_ in STAGES]
    assert len({*again, *(stage for stage, *_ in STAGES)}) == len(STAGES)


def test_a_kind_of_stage_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="kind"):
        StageId(kind="warm-up", cycle=0)


def record(*losses):
    epochs = [
        Epoch(epoch=5 + n, train_loss=1.0, valid_loss=loss, metrics={}, batch_size=8, optimizer="Adam", lr=0.1)
        for n, loss in enumerate(losses)
    ]
    return StageRecord(
        stage=StageId(kind="initial", cycle=0),
        parent=None,
        change=UNCHANGED,
        digest="d" * 64,
        hyperparameters=Hyperparameters(optimizer="SGD", batch_size=8),
        epochs=tuple(epochs),
    )


def test_the_loss_of_a_record_is_that_of_its_last_epoch():
    trained = record(3.0, 1.0, 2.0)
    assert trained.losses == (3.0, 1.0, 2.0)
    assert (trained.valid_loss, trained.last_epoch, trained.name) == (2.0, 7, "init")


def test_the_shares_of_a_record_are_those_of_its_last_epoch():
    trained = record(3.0, 2.0)
    first, last = (
        epoch.model_copy(update={"shares": shares})
        for epoch, shares in zip(trained.epochs, ((1, 2), (0.5, 1.5)), strict=True)
    )
    assert trained.model_copy(update={"epochs": (first, last)}).shares == (0.5, 1.5)
    assert trained.shares == ()


def test_a_loss_that_is_no_number_is_infinite():
    assert record(3.0, None).valid_loss == float("inf")
    assert record(None, 3.0).valid_loss == 3.0


def test_a_record_has_at_least_one_epoch():
    with pytest.raises(ValidationError, match="epochs"):
        record()


def test_a_record_that_is_read_back_is_the_same():
    trained = record(3.0, None)
    shared = trained.epochs[0].model_copy(update={"shares": (1.0, 2.0), "train_loss": None})
    trained = trained.model_copy(update={"epochs": (shared, trained.epochs[1])})
    assert StageRecord.model_validate_json(trained.model_dump_json()) == trained
