"""The batch size."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Limits, Offer, Section

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

STEP = 10  # the article's


class BatchSize(Hyperparameter):
    """The article's step of ten up and down, and half and double, within the range."""

    name, code = "batch_size", 2
    limits: ClassVar = {"batch_size": Limits(4, 200, "batch size, samples")}

    class Values(Section):
        """Keys of ``start:``."""

        batch_size: int = Field(16, ge=1, description="samples of a batch")

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        size = parent.batch_size
        low, high = space.bounds("batch_size")
        steps = {min(max(step, low), high) for step in (size - STEP, size + STEP, size // 2, size * 2)}
        return [
            self.child(parent, "batch_size", size, new, {"batch_size": new}) for new in sorted(steps) if new != size
        ]
