"""MIHA with one part of its design taken away. What is no setting is patched, so these run in one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from miha import plan
from miha.evolution.change import Child
from miha.evolution.hyperparameter import State
from miha.evolution.point import Hyperparameters
from miha.experiment import Cycle, Experiment
from miha.records.record import StageRecord
from miha.records.selection import Selection
from miha.training import stage

NO_CROSSOVER, OWN_ORDERS = "no crossover", "siblings with orders of their own"
FITNESS: dict[str, dict[str, Any]] = {"the article's fitness": {"fitness": {"kind": "article"}}}


@contextmanager
def without_control() -> Iterator[None]:
    """A population of changed children alone."""
    generate = plan.generate_population

    def changed(parent: Any, space: Any, offer: Any, size: int, *rest: Any, **options: Any) -> list[Child]:
        return generate(parent, space, offer, size + 1, *rest, **options)[1:]

    with patch.object(plan, "generate_population", changed):
        yield


@contextmanager
def on_training_loss() -> Iterator[None]:
    """Fitness sees the training loss."""
    select = Experiment.select_fittest

    def shown(outcome: Any) -> Any:
        if not isinstance(outcome, StageRecord):
            return outcome
        epochs = tuple(epoch.model_copy(update={"valid_loss": epoch.train_loss}) for epoch in outcome.epochs)
        return outcome.model_copy(update={"epochs": epochs})

    def selected(experiment: Experiment, cycle: Cycle) -> Selection:
        outcomes = [shown(outcome) for outcome in cycle.outcomes]
        return select(experiment, replace(cycle, parent=shown(cycle.parent), outcomes=outcomes))

    with patch.object(Experiment, "select_fittest", selected):
        yield


@contextmanager
def without_state() -> Iterator[None]:
    """Any change of hyperparameters starts the optimizer afresh."""
    carry = stage.carry_state

    def dropped(state: State, before: Hyperparameters, after: Hyperparameters) -> State:
        return carry(state, before, after) if before == after else {}

    with patch.object(stage, "carry_state", dropped):
        yield


PATCHES = {
    "no control child": without_control,
    "fitness on the training loss": on_training_loss,
    "optimizer state dropped at changes": without_state,
}
NAMES = (NO_CROSSOVER, *FITNESS, *PATCHES, OWN_ORDERS)
