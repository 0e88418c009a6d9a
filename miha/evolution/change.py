"""A change of hyperparameters as a value; what people read of it is its ``str``."""

from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters

Value = str | int | float | None


class Change(BaseModel):
    """How a point of the search space differs from its parent; all defaults stand for no difference.

    Attributes:
        operator: name of the hyperparameter, as in ``search.operators``.
        target: what of it differs: a key of ``start:``, or the module path of a layer.
        before: its value in the parent; None: as the network is written.
        after: its value in the child.
        crossed: taken over from a candidate of the cycle before.
        members: numbers of the candidates whose weights were averaged, the one whose hyperparameters go on first; empty
            of a candidate that was trained.
    """

    model_config = ConfigDict(frozen=True)

    operator: str = ""
    target: str = ""
    before: Value = None
    after: Value = None
    crossed: bool = False
    members: tuple[int, ...] = ()

    @property
    def drawn(self) -> bool:
        """True if an operator had its turn to make this change."""
        return bool(self.operator) and not self.crossed and not self.members

    def __str__(self) -> str:
        if self.members:
            return f"mean of {', '.join(map(str, self.members))}: {self.model_copy(update={'members': ()})}"
        if not self.operator:
            return "unchanged"
        return f"{'crossover: ' * self.crossed}{self.target} {_formatted(self.before)}→{_formatted(self.after)}"


UNCHANGED = Change()


def _formatted(value: Value) -> str:
    if value is None:
        return "as written"
    return f"{value:g}" if isinstance(value, float) else str(value)


class Child(NamedTuple):
    """A point of the search space, and how it differs from its parent."""

    point: "Hyperparameters"
    change: Change
