"""Decay of the weights."""

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Limits, Offer, Section
from miha.evolution.hyperparameters.optimizer import OPTIMIZERS

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

FACTORS = (0.1, 0.3, 3.0, 10.0)  # it spans more orders of magnitude than a learning rate
FIRST = (1e-5, 1e-4, 1e-3)  # from none: what L2 penalties usually are
FIRST_DECOUPLED = (1e-2, 1e-1)  # applied times the learning rate, so of another size


class WeightDecay(Hyperparameter):
    """About a third or a tenth, three or ten times as much, or none; from none, what is usual."""

    name, code = "weight_decay", 4
    limits: ClassVar = {"weight_decay": Limits(1e-6, 1.0, "weight decay; none at all is always allowed", zero=True)}

    class Values(Section):
        """Keys of ``start:``."""

        weight_decay: float | None = Field(None, ge=0, description="decay of the weights; default: the optimizer's own")

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        decay = parent.weight_decay
        first = FIRST_DECOUPLED if OPTIMIZERS[parent.optimizer].decoupled else FIRST
        values = [0.0, *(decay * factor for factor in FACTORS)] if decay else first
        return self.number_children(parent, space, "weight_decay", values)

    def optimizer_arguments(self, point: "Hyperparameters") -> dict[str, Any]:
        return {"weight_decay": point.weight_decay}
