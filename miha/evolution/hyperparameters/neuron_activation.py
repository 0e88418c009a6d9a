"""Another activation for half of a layer's channels."""

from typing import TYPE_CHECKING, ClassVar

from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Offer, Section
from miha.evolution.hyperparameters.activation import CLASS_ACTIVATIONS, Mixed

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

DRAWS = 8  # which half takes the other activation


class NeuronActivation(Hyperparameter):
    """For each layer every other activation that it may take, for one of several random halves of its channels.

    What changes is the activation of a layer (``activations`` of a point), so that crossover, replay and soups treat it
    as any change of one. A layer that has two already keeps the first.
    """

    name, code = "neuron_activation", 9
    weight: ClassVar = 0.0

    class Values(Section):
        """No keys of its own."""

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        children = []
        for layer, allowed in offer.layers.items():
            current = parent.activations[layer]
            first = Mixed.parse(current).first
            others = [name for name in allowed if name != first and name not in CLASS_ACTIVATIONS]
            for name in others if first not in CLASS_ACTIVATIONS else ():
                for draw in range(1, DRAWS + 1):
                    mixed = str(Mixed(first, name, draw))
                    if mixed != current:
                        update = {"activations": {**parent.activations, layer: mixed}}
                        children.append(self.child(parent, layer, current, mixed, update))
        return children
