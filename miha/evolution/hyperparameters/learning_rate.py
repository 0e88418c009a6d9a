"""The learning rate."""

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Limits, Offer, Section

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

FACTORS = (0.2, 0.5, 2.0, 5.0)


class LearningRate(Hyperparameter):
    """A half or a fifth, two or five times as large, within the range."""

    name, code = "lr", 3
    limits: ClassVar = {"lr": Limits(1e-6, 10.0, "learning rate")}

    class Values(Section):
        """Keys of ``start:``."""

        lr: float | None = Field(None, gt=0, description="learning rate; default: the optimizer's own")

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        return self.number_children(parent, space, "lr", [parent.lr * factor for factor in FACTORS])

    def optimizer_arguments(self, point: "Hyperparameters") -> dict[str, Any]:
        return {"lr": point.lr}
