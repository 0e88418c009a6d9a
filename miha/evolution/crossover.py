"""Crossover: the fittest candidate, whose change is kept, takes on what else was fitter than no change in its cycle.

A cycle tries many changes and keeps one. The next cycle gives the others that were worth having another chance, each
beside the one that was kept (the article's author left crossover as future work).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from miha.evolution.hyperparameters import OPTIMIZERS, Hyperparameters
from miha.evolution.mutation import Child

CROSSOVER = "crossover: "


class Judged(NamedTuple):
    """A candidate of the last cycle: its point, in words how it differs from its parent, its fitness (-inf: none)."""

    hyperparameters: Hyperparameters
    change: str
    fitness: float


def crossovers(parent: Hyperparameters, population: Sequence[Judged], fittest: int) -> list[Child]:
    """The fittest candidate with the change of each other that was fitter than the control, best first.

    Where the control was lost, of each other that was not.

    Args:
        parent: the point that all candidates of a cycle descend from, and the control's own.
        population: the candidates.
        fittest: number of the one that goes on.
    """
    winner = population[fittest].hyperparameters
    floor = max((one.fitness for one in population if one.hyperparameters == parent), default=-math.inf)
    children = []
    for one in sorted(population, key=lambda one: one.fitness, reverse=True):
        crossed = cross(parent, winner, one.hyperparameters)
        if one.fitness > floor and crossed is not None:
            children.append(Child(crossed, CROSSOVER + one.change.removeprefix(CROSSOVER)))
    return children


def cross(parent: Hyperparameters, fittest: Hyperparameters, other: Hyperparameters) -> Hyperparameters | None:
    """``fittest`` with what ``other`` changed of their parent; None where both changed the same.

    A change of optimizer counts as one of all that optimizers have their own of: a learning rate or a weight decay that
    suits one is another thing to the next.
    """
    kept, added = _differences(parent, fittest), _differences(parent, other)
    if kept.keys() & added.keys():
        return None
    layers = {path: value for (field, path), value in added.items() if field == "activations"}
    numbers = {field: value for (field, _), value in added.items() if field != "activations"}
    return fittest.model_copy(update={**numbers, "activations": {**fittest.activations, **layers}})


def _differences(before: Hyperparameters, after: Hyperparameters) -> dict[tuple[str, str], Any]:
    """What a change set, by field and, of activations, by layer."""
    old, new = _flat(before), _flat(after)
    set_with_optimizer = OPTIMIZERS[after.optimizer].own if before.optimizer != after.optimizer else ()
    return {place: value for place, value in new.items() if value != old[place] or place[0] in set_with_optimizer}


def _flat(point: Hyperparameters) -> dict[tuple[str, str], Any]:
    fields = {(field, ""): value for field, value in point if field != "activations"}
    return fields | {("activations", layer): name for layer, name in point.activations.items()}
