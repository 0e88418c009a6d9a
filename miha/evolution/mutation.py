"""Mutation: children that differ from their parent in one hyperparameter.

Each operator lists *all* points that one change of its kind leads to. Operators take turns by weight, and so does what
each may change (which layer); the child is then one of the points that no sibling has taken, so that no two children
are alike and none repeats its parent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import count, groupby, islice
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from miha.evolution.hyperparameters import OPTIMIZERS, Hyperparameters, Offer
from miha.evolution.seeds import stream

BATCH_STEP = 10  # the article's step of the batch size
FACTORS = (0.2, 0.5, 2.0, 5.0)  # of a learning rate, or of what a momentum lacks of 1
DECAY_FACTORS = (0.1, 0.3, 3.0, 10.0)  # weight decay spans more orders of magnitude
FIRST_DECAYS = (1e-5, 1e-4, 1e-3)  # from none: what L2 penalties usually are
FIRST_DECOUPLED_DECAYS = (1e-2, 1e-1)  # applied times the learning rate, so of another size
DROPOUT_STEPS = (-0.2, -0.1, 0.1, 0.2)
AUGMENTATION_STEPS = (-0.25, 1.0)  # what it prevents shows late, so that a few epochs speak too well of less


class Child(NamedTuple):
    """A point of the search space, and in words how it differs from its parent ("unchanged" for the control).

    ``what`` differs, such as one layer, takes turns with what else its operator may change.
    """

    hyperparameters: Hyperparameters
    change: str
    what: str = ""


UNCHANGED = "unchanged"


class SearchSpace(BaseModel):
    """What may change, how often, and within which bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    operators: dict[str, float] = Field(
        default_factory=lambda: dict.fromkeys(OPERATORS, 1.0),
        description="how often each operator has its turn, in proportion; 0 or absent: never",
    )
    min_batch_size: int = Field(4, ge=1, description="smallest batch size, samples")
    max_batch_size: int = Field(200, ge=1, description="largest batch size, samples")
    min_lr: float = Field(1e-6, gt=0, description="smallest learning rate")
    max_lr: float = Field(10.0, gt=0, description="largest learning rate")
    min_weight_decay: float = Field(1e-6, gt=0, description="smallest weight decay beside 0")
    max_weight_decay: float = Field(1.0, gt=0, description="largest weight decay")
    min_momentum: float = Field(0.5, ge=0, lt=1, description="smallest momentum of SGD, beta1 of Adam's relatives")
    max_momentum: float = Field(0.99, ge=0, lt=1, description="largest momentum")
    min_beta2: float = Field(
        0.9, ge=0, lt=1, description="smallest beta2 of Adam's relatives, alpha of RMSprop, rho of Adadelta"
    )
    max_beta2: float = Field(0.9999, ge=0, lt=1, description="largest beta2")
    max_dropout: float = Field(0.5, ge=0, lt=1, description="largest probability of dropout")
    crossovers: int = Field(
        1, ge=0, description="candidates, at most, with a change that the cycle before found good but not the best"
    )

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
        for name in BOUNDED:
            low, high = self.bounds(name)
            if low > high:
                raise ValueError(f"min_{name} {low} is above max_{name} {high}")
        return self

    def bounds(self, name: str) -> tuple[float, float]:
        """Smallest and largest value of one of the hyperparameters in ``BOUNDED``."""
        return getattr(self, f"min_{name}", 0), getattr(self, f"max_{name}", 1)

    def clip(self, name: str, value: float | None) -> float | None:
        """The value within its bounds; None, and no weight decay at all, stay what they are."""
        if value is None or (name == "weight_decay" and value == 0):
            return value
        low, high = self.bounds(name)
        return min(max(value, low), high)


BOUNDED = ("batch_size", "lr", "weight_decay", "momentum", "beta2", "dropout", "augmentation")


def change_optimizer(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """Every other optimizer, with its own learning rate, weight decay, momentum and beta2.

    Adam's relatives keep all of these, but weight decay only where both decay the weights in the same way; so do
    others.
    """
    before, children = OPTIMIZERS[parent.optimizer], []
    for name, kind in OPTIMIZERS.items():
        if name == parent.optimizer:
            continue
        update: dict[str, object] = {key: space.clip(key, value) for key, value in kind.own.items()}
        if kind.adam_like and before.adam_like:
            update |= {"lr": parent.lr, "momentum": parent.momentum, "beta2": parent.beta2}
        if kind.decoupled == before.decoupled:
            update["weight_decay"] = parent.weight_decay
        child = parent.model_copy(update={**update, "optimizer": name})
        children.append(Child(child, f"{parent.optimizer}→{name}"))
    return children


def change_activation(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """Every other activation that one layer may take, for every layer."""
    children = []
    for layer, allowed in offer.layers.items():  # in the network's order: that of a record depends on who wrote it
        current = parent.activations[layer]
        for name in allowed:
            if name != current:
                activations = {**parent.activations, layer: name}
                child = parent.model_copy(update={"activations": activations})
                children.append(Child(child, f"{current}→{name} in {layer}", layer))
    return children


def change_batch_size(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """The article's step of ten up and down, and half and double, within the bounds."""
    size = parent.batch_size
    steps = (size - BATCH_STEP, size + BATCH_STEP, size // 2, size * 2)
    sizes = {min(max(step, space.min_batch_size), space.max_batch_size) for step in steps} - {size}
    return [Child(parent.model_copy(update={"batch_size": new}), f"batch size {size}→{new}") for new in sorted(sizes)]


def change_lr(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """A learning rate a half or a fifth, two or five times as large, within the bounds."""
    return _with_numbers(parent, space, "lr", parent.lr, [parent.lr * factor for factor in FACTORS])


def change_weight_decay(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """About a third or a tenth, three or ten times the weight decay, or none; from none, what is usual."""
    decay = parent.weight_decay
    first = FIRST_DECOUPLED_DECAYS if OPTIMIZERS[parent.optimizer].decoupled else FIRST_DECAYS
    values = [0.0, *(decay * factor for factor in DECAY_FACTORS)] if decay else first
    return _with_numbers(parent, space, "weight_decay", decay, values)


def change_momentum(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """Momentum or beta2, where the optimizer has them, reaching back half or a fifth, two or five times as far.

    A running mean of decay b reaches back about 1 / (1 - b) steps, so 1 - b is what is multiplied.
    """
    children: list[Child] = []
    for name, current in (("momentum", parent.momentum), ("beta2", parent.beta2)):
        if current is not None:
            values = [1 - (1 - current) * factor for factor in FACTORS]
            children += _with_numbers(parent, space, name, current, values)
    return children


def change_loss(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """Every other loss that the problem offers to training; validation and so fitness keep theirs."""
    return [
        Child(parent.model_copy(update={"loss": name}), f"loss {parent.loss}→{name}")
        for name in offer.losses
        if name != parent.loss
    ]


def change_dropout(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """A tenth or a fifth more or less of dropout, within the bounds, if the network has any."""
    if not offer.dropouts:
        return []
    current = parent.dropout
    around = sum(offer.dropouts) / len(offer.dropouts) if current is None else current
    return _with_numbers(parent, space, "dropout", current, [around + step for step in DROPOUT_STEPS])


def change_augmentation(parent: Hyperparameters, space: SearchSpace, offer: Offer) -> list[Child]:
    """A quarter less of augmentation, or all of it, if the problem has any."""
    if not offer.augmentation:
        return []
    values = [parent.augmentation + step for step in AUGMENTATION_STEPS]
    return _with_numbers(parent, space, "augmentation", parent.augmentation, values)


def _with_numbers(
    parent: Hyperparameters, space: SearchSpace, field: str, current: float | None, values: Iterable[float]
) -> list[Child]:
    """A child for each new value of a field, rounded to five digits and within the bounds."""
    label, before = field.replace("_", " "), "as written" if current is None else f"{current:g}"
    clipped = [space.clip(field, float(f"{value:.5g}")) for value in values]
    return [
        Child(parent.model_copy(update={field: value}), f"{label} {before}→{value:g}", field)
        for value in dict.fromkeys(clipped)
        if value != current
    ]


Operator = Callable[[Hyperparameters, SearchSpace, Offer], list[Child]]
OPERATORS: dict[str, Operator] = {
    "optimizer": change_optimizer,
    "activation": change_activation,
    "batch_size": change_batch_size,
    "lr": change_lr,
    "weight_decay": change_weight_decay,
    "momentum": change_momentum,
    "loss": change_loss,
    "dropout": change_dropout,
    "augmentation": change_augmentation,
}


def generate_population(
    parent: Hyperparameters,
    space: SearchSpace,
    offer: Offer,
    size: int,
    seed: int,
    cycle: int,
    inherited: Sequence[Child] = (),
    turn: int = 0,
) -> list[Child]:
    """Draw ``size`` children: number 0 is the unchanged control, each drawn one has one change, no two are alike.

    Args:
        parent: the point they descend from.
        space: weights of the operators and bounds.
        offer: what else the problem and its network let change.
        size: number of children wanted; fewer come back when distinct changes run out.
        seed: of the run.
        cycle: from 1.
        inherited: children that come after the control, before any is drawn.
        turn: how many children the cycles before have drawn, so that operators take turns from there.
    """
    children = [Child(parent, UNCHANGED), *inherited][:size]
    taken = [child.hyperparameters for child in children]
    pools = {}
    for name in OPERATORS:
        if space.operators.get(name):
            offered = OPERATORS[name](parent, space, offer)
            pools[name] = _pools([child for child in offered if child.hyperparameters not in taken])
    weights = {name: space.operators[name] for name, pool in pools.items() if pool}
    left = weights
    for number in range(len(children), size):
        if not left:
            break
        name, nth = operator_due(weights, turn, seed)
        if name not in left:
            name, nth = operator_due(left, turn, seed)
        pool = pools[name][nth % len(pools[name])]
        children.append(pool.pop(int(stream(seed, "mutation", cycle, number).integers(len(pool)))))
        pools[name] = [some for some in pools[name] if some]
        left = {name: weight for name, weight in weights.items() if pools[name]}
        turn += 1
    return children


def operator_due(weights: Mapping[str, float], turn: int, seed: int) -> tuple[str, int]:
    """Whose turn it is: operators have turns as often as their weights say, and none waits long.

    Turn k (from 0) of an operator of weight w comes at time (k + u) / w with u drawn from 0 to 1: of equal weights,
    each has had one turn before any has had two. Were each turn drawn by itself, a given operator would go without in
    one run of three, (8/9)^9, that has as many turns as there are operators.

    Args:
        weights: by operator, above 0.
        turn: from 0, counted over all operators.
        seed: of the run.

    Returns:
        name and a number that grows by 1 from turn to turn of an operator, begun anywhere.
    """

    def times(name: str) -> Iterator[tuple[float, str, int]]:
        rng = stream(seed, "turns", list(OPERATORS).index(name))
        start = int(rng.integers(1_000_000))
        return (((k + rng.random()) / weights[name], name, start + k) for k in count())

    _, name, number = next(islice(merge(*map(times, weights)), turn, None))
    return name, number


def _pools(children: list[Child]) -> list[list[Child]]:
    """The changes of an operator, apart by what they change, such as each layer."""
    return [list(pool) for _, pool in groupby(children, key=lambda child: child.what)]
