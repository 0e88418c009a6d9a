"""MIHA with one part of its design taken away. What is no setting is patched, so these run in one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from miha import plan, run
from miha.evolution.change import Child
from miha.evolution.hyperparameter import State
from miha.evolution.point import Hyperparameters
from miha.experiment import Cycle, Experiment
from miha.records.record import StageRecord
from miha.records.selection import Selection
from miha.training import stage
from miha.training.loop import Trainer
from miha.training.spec import StageSpec

NO_CROSSOVER = "no crossover"
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


@contextmanager
def with_own_orders() -> Iterator[None]:
    """Each candidate has its own order of samples, augmentation and dropout."""
    train = run.run_stage

    def trained(spec: StageSpec) -> StageRecord:
        def trainer(*parts: Any) -> Trainer:
            made = Trainer(*parts)
            return replace(made, seed=made.seed + 1_000_003 * (spec.stage.candidate or 0))

        with patch.object(stage, "Trainer", trainer):
            return train(spec)

    with patch.object(run, "run_stage", trained):
        yield


PATCHES = {
    "no control child": without_control,
    "fitness on the training loss": on_training_loss,
    "optimizer state dropped at changes": without_state,
    "siblings with orders of their own": with_own_orders,
}
NAMES = (NO_CROSSOVER, *FITNESS, *PATCHES)
