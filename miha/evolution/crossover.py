"""Crossover: the fittest candidate, whose change is kept, takes on what else was fitter than no change in its cycle.

A cycle tries many changes and keeps one. The next cycle gives the others that were worth having another chance, each
beside the one that was kept (the article's author left crossover as future work).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from miha.evolution.change import Change, Child
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.point import Hyperparameters


class Judged(NamedTuple):
    """A candidate of the last cycle: its point, how it differs from its parent, its fitness (-inf: none)."""

    point: Hyperparameters
    change: Change
    fitness: float


def crossovers(parent: Hyperparameters, population: Sequence[Judged], fittest: int) -> list[Child]:
    """The fittest candidate with the change of each other that was fitter than the control, best first.

    If the control failed, of each other that has a fitness.

    Args:
        parent: the point that all candidates of a cycle descend from, and the control's own.
        population: the candidates.
        fittest: number of the one that goes on.
    """
    winner = population[fittest].point
    floor = max((one.fitness for one in population if one.point == parent), default=-math.inf)
    children = []
    for one in sorted(population, key=lambda one: one.fitness, reverse=True):
        crossed = cross(parent, winner, one.point)
        if one.fitness > floor and crossed is not None:
            children.append(Child(crossed, one.change.model_copy(update={"crossed": True})))
    return children


def cross(parent: Hyperparameters, fittest: Hyperparameters, other: Hyperparameters) -> Hyperparameters | None:
    """``fittest`` with what ``other`` changed of their parent; None where both changed the same."""
    kept, added = _differences(parent, fittest), _differences(parent, other)
    if kept.keys() & added.keys():
        return None
    update: dict[str, Any] = {}
    for (key, layer), value in added.items():
        update[key] = {**update.get(key, getattr(fittest, key)), layer: value} if layer else value
    return fittest.model_copy(update=update)


def _differences(before: Hyperparameters, after: Hyperparameters) -> dict[tuple[str, str], Any]:
    """What a change set, by key and, of activations, by layer."""
    return {
        place: value for kind in HYPERPARAMETERS.values() for place, value in kind.differences(before, after).items()
    }
