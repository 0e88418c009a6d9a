"""The search space, put together from all hyperparameters: its points, where a run starts, and its bounds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, create_model, field_validator, model_validator

from miha.evolution.hyperparameter import Offer, Section
from miha.evolution.hyperparameters import HYPERPARAMETERS

_LIMITS = {key: limits for kind in HYPERPARAMETERS.values() for key, limits in kind.limits.items()}


def _composed(name: str, base: type[BaseModel], parts: list[type[BaseModel]], **fields: Any) -> Any:
    """A model with the fields and validators of all parts; its methods are those of ``base``."""
    return create_model(name, __base__=(base, *reversed(parts)), __module__=__name__, __doc__=base.__doc__, **fields)


class _Point(Section):
    """One point of the search space: everything about training that may change on the way.

    What is left out of ``lr``, ``weight_decay``, ``momentum`` and ``beta2`` is the optimizer's own. Its fields are the
    keys of ``start:``, and ``activations`` (module path → name of the class in ``torch.nn``).
    """

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...
        def __getattr__(self, key: str) -> Any: ...

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        for kind in HYPERPARAMETERS.values() if isinstance(values, dict) else ():
            values = kind.complete(values)
        return values


class _Start(Section):
    """Hyperparameters of initial training. Activations are those of the network as it is written."""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...
        def __getattr__(self, key: str) -> Any: ...

    def completed(self) -> dict[str, Any]:
        """All values, with those that the others imply."""
        values = self.model_dump()
        for kind in HYPERPARAMETERS.values():
            values = kind.complete(values)
        return values

    def point(self, offer: Offer) -> "Hyperparameters":
        """The point to start from, for a problem and network that offer this much.

        Raises:
            ConfigError: a value that the problem or its network has no place for.
        """
        values = self.model_dump()
        for kind in HYPERPARAMETERS.values():
            values |= kind.start(self, offer)
        return Hyperparameters.model_validate(values)


class _SearchSpace(Section):
    """What may change, how often, and within which bounds."""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    operators: dict[str, float] = Field(
        default_factory=lambda: {name: kind.weight for name, kind in HYPERPARAMETERS.items() if kind.weight},
        description="how often each operator has its turn, in proportion; 0 or absent: never",
    )
    crossovers: int = Field(
        1, ge=0, description="candidates, at most, with a change that the cycle before found good but not the best"
    )

    prior: tuple[Path, ...] = Field(
        (), description="folders of earlier runs: changes that won there have more turns; none: all take turns"
    )
    experience: bool = Field(
        False, description="draw the direction of a change by what it was worth in the trainings of MIHA's benchmarks"
    )

    @field_validator("operators")
    @classmethod
    def _operators_exist(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if name not in HYPERPARAMETERS:
                raise ValueError(f"unknown operator {name!r}; known are {', '.join(HYPERPARAMETERS)}")
            if not 0 <= weight < float("inf"):
                raise ValueError(f"the weight of {name!r} must be 0 or more but is {weight}")
        return weights

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "_SearchSpace":
        for key in _LIMITS:
            low, high = self.bounds(key)
            if low > high:
                raise ValueError(f"min_{key} {low} is above max_{key} {high}")
        return self

    def bounds(self, key: str) -> tuple[float, float]:
        """Smallest and largest value of a number."""
        return getattr(self, f"min_{key}"), getattr(self, f"max_{key}")

    def clip(self, key: str, value: float | None) -> float | None:
        """The value within its bounds; None stays, as does 0 where it is always allowed."""
        if value is None or (_LIMITS[key].zero and value == 0):
            return value
        low, high = self.bounds(key)
        return min(max(value, low), high)

    def check(self, start: "Start") -> None:
        """Raise ValueError for a value of ``start:`` that is out of bounds."""
        values = start.completed()
        for key in _LIMITS:
            if values[key] != self.clip(key, values[key]):
                low, high = self.bounds(key)
                raise ValueError(
                    f"start.{key} {values[key]} is outside search.min_{key} to search.max_{key} ({low} to {high})"
                )


def _bound_fields() -> dict[str, Any]:
    """``min_<key>`` and ``max_<key>`` of each number, under the same constraints as the number itself."""
    fields: dict[str, Any] = {}
    for kind in HYPERPARAMETERS.values():
        for key, limits in kind.limits.items():
            constrained: Any = type(limits.low)
            for constraint in kind.Values.model_fields[key].metadata:
                constrained = Annotated[constrained, constraint]
            for side, end, word in (("min", limits.low, "smallest"), ("max", limits.high, "largest")):
                fields[f"{side}_{key}"] = (constrained, Field(end, description=f"{word} {limits.label}"))
    return fields


_VALUES = [kind.Values for kind in HYPERPARAMETERS.values()]
_STARTS = [kind.Values for kind in HYPERPARAMETERS.values() if not kind.from_network]

if TYPE_CHECKING:
    Hyperparameters = _Point
    Start = _Start
    SearchSpace = _SearchSpace
else:
    Hyperparameters = _composed("Hyperparameters", _Point, _VALUES)
    Start = _composed("Start", _Start, _STARTS)
    SearchSpace = _composed("SearchSpace", _SearchSpace, [], **_bound_fields())
