"""MIHA with one part of its design taken away. What is no setting is patched, so these run in one process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from miha import experiment
from miha.decisions import Decisions
from miha.evolution.hyperparameters import Hyperparameters
from miha.evolution.mutation import Child
from miha.records.history import Selection
from miha.records.record import Epoch, StageRecord
from miha.training import stages

NO_CROSSOVER = "no crossover"
FITNESS: dict[str, dict[str, Any]] = {"the article's fitness": {"fitness": {"kind": "article"}}}


@contextmanager
def without_control() -> Iterator[None]:
    """A population of changed children alone."""
    generate = experiment.generate_population

    def changed(parent: Any, space: Any, offer: Any, size: int, *rest: Any, **options: Any) -> list[Child]:
        return generate(parent, space, offer, size + 1, *rest, **options)[1:]

    with patch.object(experiment, "generate_population", changed):
        yield


@contextmanager
def on_training_loss() -> Iterator[None]:
    """Fitness sees the training loss."""
    decide = Decisions._decide

    def shown(record: Any) -> Any:
        if not isinstance(record, StageRecord):
            return record
        epochs = tuple(epoch.model_copy(update={"valid_loss": epoch.train_loss}) for epoch in record.epochs)
        return record.model_copy(update={"epochs": epochs})

    def decided(self: Any, cycle: int, parent: Any, specs: Any, outcomes: Sequence[Any]) -> Selection:
        return decide(self, cycle, shown(parent), specs, [shown(outcome) for outcome in outcomes])

    with patch.object(Decisions, "_decide", decided):
        yield


@contextmanager
def without_state() -> Iterator[None]:
    """Any change of hyperparameters starts the optimizer afresh."""
    carry = stages.carry_state

    def dropped(flat: Any, before: Hyperparameters, after: Hyperparameters) -> Any:
        return carry(flat, before, after) if before == after else {}

    with patch.object(stages, "carry_state", dropped):
        yield


@contextmanager
def with_own_orders() -> Iterator[None]:
    """Each candidate has its own order of samples, augmentation and dropout."""
    run, train = stages._Stage.run, stages.train_epochs
    candidate = 0

    def noted(stage: Any) -> StageRecord:
        nonlocal candidate
        candidate = stage.spec.candidate or 0
        return run(stage)

    def reseeded(*arguments: Any, seed: int, **options: Any) -> Iterator[Epoch]:
        return train(*arguments, seed=seed + 1_000_003 * candidate, **options)

    with patch.object(stages._Stage, "run", noted), patch.object(stages, "train_epochs", reseeded):
        yield


PATCHES = {
    "no control child": without_control,
    "fitness on the training loss": on_training_loss,
    "optimizer state dropped at changes": without_state,
    "siblings with orders of their own": with_own_orders,
}
NAMES = (NO_CROSSOVER, *FITNESS, *PATCHES)
