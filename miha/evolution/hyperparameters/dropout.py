"""The probability of all dropout layers."""

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from torch import nn

from miha.errors import ConfigError
from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Limits, Offer, Section

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
STEPS = (-0.2, -0.1, 0.1, 0.2)


class Dropout(Hyperparameter):
    """A tenth or a fifth more or less, within the range, if the network has any."""

    name, code = "dropout", 7
    limits: ClassVar = {"dropout": Limits(0.0, 0.5, "probability of dropout")}

    class Values(Section):
        """Keys of ``start:``."""

        dropout: float | None = Field(
            None, ge=0, lt=1, description="probability of all dropout layers; default: as the network is written"
        )

    def start(self, values: Any, offer: Offer) -> dict[str, Any]:
        if values.dropout is None:
            return {"dropout": offer.dropouts[0]} if len(offer.dropouts) == 1 else {}
        if not offer.dropouts:
            raise ConfigError(f"start.dropout is {values.dropout}, but the network has no nn.Dropout. Leave it out.")
        return {}

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        if not offer.dropouts:
            return []
        around = sum(offer.dropouts) / len(offer.dropouts) if parent.dropout is None else parent.dropout
        return self.number_children(parent, space, "dropout", [around + step for step in STEPS])

    def configure(self, network: nn.Module, point: "Hyperparameters") -> None:
        set_dropout(network, point.dropout)


def find_dropouts(network: nn.Module) -> dict[str, float]:
    """All dropout layers of a network: module path → probability, in the order of the module tree."""
    return {path: module.p for path, module in network.named_modules() if isinstance(module, LAYERS)}


def set_dropout(network: nn.Module, probability: float | None) -> None:
    """Give every dropout layer this probability, in place; None leaves each as it is."""
    for path in find_dropouts(network) if probability is not None else ():
        network.get_submodule(path).p = probability  # type: ignore[assignment]
