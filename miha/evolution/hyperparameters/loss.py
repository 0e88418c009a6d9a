"""The loss that training minimises; validation and so fitness keep theirs."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from miha.errors import ConfigError
from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Offer, Section

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace


class Loss(Hyperparameter):
    """Every other loss that the problem offers to training."""

    name, code = "loss", 6

    class Values(Section):
        """Keys of ``start:``."""

        loss: str | None = Field(None, description="training loss, one that the problem offers; default: its own")

    def start(self, values: Any, offer: Offer) -> dict[str, Any]:
        if values.loss is None:
            return {"loss": next(iter(offer.losses), None)}
        if values.loss not in offer.losses:
            offered = f"it offers {', '.join(offer.losses)}" if offer.losses else "it offers none; leave it out"
            raise ConfigError(f"start.loss is {values.loss!r}, which the problem does not offer: {offered}.")
        return {}

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        return [
            self.child(parent, "loss", parent.loss, name, {"loss": name})
            for name in offer.losses
            if name != parent.loss
        ]
