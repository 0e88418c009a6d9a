"""The strength of the distortion of training samples."""

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from miha.errors import ConfigError
from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Limits, Offer, Section

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

STEPS = (-0.25, 1.0)  # what it prevents shows late, so that a few epochs speak too well of less


class Augmentation(Hyperparameter):
    """A quarter less, or all of it, if the problem has any."""

    name, code = "augmentation", 8
    limits: ClassVar = {"augmentation": Limits(0.0, 1.0, "strength of augmentation")}

    class Values(Section):
        """Keys of ``start:``."""

        augmentation: float = Field(0.0, ge=0, le=1, description="strength of the distortion of training samples")

    def start(self, values: Any, offer: Offer) -> dict[str, Any]:
        if values.augmentation and not offer.augmentation:
            raise ConfigError(f"start.augmentation is {values.augmentation}, but the problem has none. Leave it out.")
        return {}

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        if not offer.augmentation:
            return []
        return self.number_children(parent, space, "augmentation", [parent.augmentation + step for step in STEPS])
