"""What a hyperparameter is. Each one is a class of its own in a file of ``hyperparameters/``."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from miha.evolution.change import Change, Child

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace


class Section(BaseModel):
    """Keys of one section of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limits(NamedTuple):
    """The range of a number: the defaults of ``search.min_<key>`` and ``search.max_<key>``, and what to call it."""

    low: float
    high: float
    label: str
    zero: bool = False  # 0 is always allowed too


@dataclass(frozen=True)
class Offer:
    """What a problem and its network let change, beside what every training has.

    Attributes:
        layers: module path of each activation that may change → names it may take.
        activations: module path of each of these → name of what the network is written with.
        losses: what training may minimise; the first to start with. Empty: it cannot change.
        dropouts: the different probabilities of the dropout layers as the network is written; empty without any.
        augmentation: whether samples can be distorted.
    """

    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    activations: Mapping[str, str] = field(default_factory=dict)
    losses: tuple[str, ...] = ()
    dropouts: tuple[float, ...] = ()
    augmentation: bool = False


State = dict[str, Tensor]  # of an optimizer: "parameter/key" → tensor


class Hyperparameter(ABC):
    """One thing about training that may change while a network trains.

    All methods but :meth:`children` have a default. Batch size, loss and augmentation are read by the
    training loop itself and need none of them.

    Attributes:
        name: as in ``search.operators``.
        code: number of its stream of random turns, and its place in lists; no two share one, and it stays for ever.
        Values: its keys in ``start:``, which are those of a point of the search space too.
        limits: key → range, for numbers.
        from_network: a run starts with what the network is written with, so that ``start:`` has no such key.
        weight: how often the operator has its turn by default, in proportion; 0: never.
    """

    name: ClassVar[str]
    code: ClassVar[int]
    Values: ClassVar[type[Section]]
    limits: ClassVar[dict[str, Limits]] = {}
    from_network: ClassVar[bool] = False
    weight: ClassVar[float] = 1.0

    @abstractmethod
    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        """All points that one change of this hyperparameter leads to, those of one target side by side."""

    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values of a point or of ``start:``, with those filled in that this hyperparameter implies."""
        return values

    def start(self, values: Any, offer: Offer) -> dict[str, Any]:
        """What the values of ``start:`` become for one problem and network; only those that differ.

        Raises:
            ConfigError: a value that the problem or its network has no place for.
        """
        return {}

    def differences(self, before: "Hyperparameters", after: "Hyperparameters") -> dict[tuple[str, str], Any]:
        """What a change of this hyperparameter set: (key, layer or "") → value; empty where both are the same."""
        old, new = ({key: getattr(point, key) for key in self.Values.model_fields} for point in (before, after))
        return {(key, ""): value for key, value in new.items() if value != old[key]}

    def configure(self, network: nn.Module, point: "Hyperparameters") -> None:
        """Change the network in place before it trains with ``point``."""

    def optimizer_arguments(self, point: "Hyperparameters") -> dict[str, Any]:
        """What the optimizer of ``point`` is to be made with."""
        return {}

    def carry(self, state: State, before: "Hyperparameters", after: "Hyperparameters") -> State:
        """The part of the optimizer's state that outlives a change of this hyperparameter."""
        return state

    def before_step(self, network: nn.Module, point: "Hyperparameters") -> None:
        """Called when gradients are there, before each step of the optimizer."""

    def number_children(
        self, parent: "Hyperparameters", space: "SearchSpace", key: str, values: Iterable[float]
    ) -> list[Child]:
        """A child for each new value of a key, rounded to five digits and within its range."""
        current = getattr(parent, key)
        clipped = [space.clip(key, float(f"{value:.5g}")) for value in values]
        return [
            self.child(parent, key, current, value, {key: value})
            for value in dict.fromkeys(clipped)
            if value != current
        ]

    def child(self, parent: "Hyperparameters", target: str, before: Any, after: Any, update: dict[str, Any]) -> Child:
        """The parent with ``update``; its change is that of ``target`` from ``before`` to ``after``."""
        change = Change(operator=self.name, target=target, before=before, after=after)
        return Child(parent.model_copy(update=update), change)
