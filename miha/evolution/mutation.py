"""Mutation: children that differ from their parent in one hyperparameter.

Each operator lists *all* points that one change of its kind leads to. A child is then drawn by choosing an operator by
weight and one of its points that no sibling has taken, so that no two children are alike and none repeats its parent.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from miha.evolution.hyperparameters import OPTIMIZERS, Hyperparameters, Layers

BATCH_STEP = 10  # the article's step of the batch size


class Child(NamedTuple):
    """A point of the search space, and in words how it differs from its parent ("unchanged" for the control)."""

    hyperparameters: Hyperparameters
    change: str


UNCHANGED = "unchanged"


class SearchSpace(BaseModel):
    """What may change, how often, and within which bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operators: dict[str, float] = Field(
        default={"optimizer": 1.0, "activation": 1.0, "batch_size": 1.0},
        description="weight with which each operator is drawn; 0 or absent: never",
    )
    min_batch_size: int = Field(4, ge=1, description="smallest batch size, samples")
    max_batch_size: int = Field(200, ge=1, description="largest batch size, samples")

    @field_validator("operators")
    @classmethod
    def _operators_exist(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if name not in OPERATORS:
                raise ValueError(f"unknown operator {name!r}; known are {', '.join(OPERATORS)}")
            if not 0 <= weight < float("inf"):
                raise ValueError(f"the weight of {name!r} must be 0 or more but is {weight}")
        return weights

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "SearchSpace":
        if self.min_batch_size > self.max_batch_size:
            raise ValueError(f"min_batch_size {self.min_batch_size} is above max_batch_size {self.max_batch_size}")
        return self


def change_optimizer(parent: Hyperparameters, space: SearchSpace, layers: Layers) -> list[Child]:
    """Every other optimizer. Adam's relatives keep the learning rate; any other pair starts at the new one's own."""
    children = []
    for name, kind in OPTIMIZERS.items():
        if name != parent.optimizer:
            related = kind.adam_like and OPTIMIZERS[parent.optimizer].adam_like
            update = {"optimizer": name, "lr": parent.lr if related else kind.lr}
            children.append(Child(parent.model_copy(update=update), f"{parent.optimizer}→{name}"))
    return children


def change_activation(parent: Hyperparameters, space: SearchSpace, layers: Layers) -> list[Child]:
    """Every other activation that one layer may take, for every layer."""
    children = []
    for layer, allowed in layers.items():  # in the network's order: that of a record depends on who wrote it
        current = parent.activations[layer]
        for name in allowed:
            if name != current:
                activations = {**parent.activations, layer: name}
                child = parent.model_copy(update={"activations": activations})
                children.append(Child(child, f"{current}→{name} in {layer}"))
    return children


def change_batch_size(parent: Hyperparameters, space: SearchSpace, layers: Layers) -> list[Child]:
    """The article's step of ten up and down, and half and double, within the bounds."""
    size = parent.batch_size
    steps = (size - BATCH_STEP, size + BATCH_STEP, size // 2, size * 2)
    sizes = {min(max(step, space.min_batch_size), space.max_batch_size) for step in steps} - {size}
    return [Child(parent.model_copy(update={"batch_size": new}), f"batch size {size}→{new}") for new in sorted(sizes)]


Operator = Callable[[Hyperparameters, SearchSpace, Layers], list[Child]]
OPERATORS: dict[str, Operator] = {
    "optimizer": change_optimizer,
    "activation": change_activation,
    "batch_size": change_batch_size,
}


def generate_population(
    parent: Hyperparameters,
    space: SearchSpace,
    layers: Layers,
    size: int,
    stream: Callable[[int], np.random.Generator],
) -> list[Child]:
    """Draw ``size`` children: number 0 is the unchanged control, every other has one change, no two are alike.

    Args:
        parent: the point they descend from.
        space: weights of the operators and bounds.
        layers: for each layer with an activation, what it may take.
        size: number of children wanted; fewer come back when distinct changes run out.
        stream: the random generator of a candidate, by its number.
    """
    children = [Child(parent, UNCHANGED)]
    used = [name for name in OPERATORS if space.operators.get(name, 0) > 0]  # in one order, whatever the user's
    pools = {name: OPERATORS[name](parent, space, layers) for name in used}
    for number in range(1, size):
        open_pools = [name for name, pool in pools.items() if pool]
        if not open_pools:
            break
        rng = stream(number)
        weights = np.array([space.operators[name] for name in open_pools])
        pool = pools[open_pools[rng.choice(len(open_pools), p=weights / weights.sum())]]
        children.append(pool.pop(int(rng.integers(len(pool)))))
    return children
