"""A gentle swap: over the first epochs of a stage a layer's output goes over from its old activation to the new one.

The share of the old activation falls in a straight line, from all of it at the first step of the stage to nothing at
the end of the transition. It follows from the number of the step alone, so that a stage which was interrupted goes on
with the same bits. Neither weights nor archives know of it: what they hold is the network with its new activation.
"""

import copy

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from miha.evolution.hyperparameters.activation import activation_for, leaving_the_input


class Transition(BaseModel):
    """Which activations are left behind, and how slowly.

    Attributes:
        epochs: of the stage, from its first, until the new activations compute alone; 1 or more.
        activations: module path → name of the activation that the parent had there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    activations: dict[str, str]

    def former(self, network: nn.Module) -> dict[str, nn.Module]:
        """Module path → the parent's activation.

        Args:
            network: with the activations that it is written with; they keep their own settings, as a slope.
        """
        return {
            path: leaving_the_input(copy.copy(activation_for(network, path, name)))
            for path, name in self.activations.items()
        }


class Blend:
    """Old activations that compute beside the new ones of a network, until the transition has ended.

    Args:
        network: with its new activations, on its device.
        former: module path → the old activation.
        epochs: of the transition.
    """

    def __init__(self, network: nn.Module, former: dict[str, nn.Module], epochs: int) -> None:
        self.epochs = epochs
        device = next(network.parameters()).device
        self.share = torch.ones((), device=device)  # of the old; a tensor, so that nothing is compiled anew
        self.hooks = [self._mix(network.get_submodule(path), old.to(device)) for path, old in former.items()]

    def reach(self, epochs_done: float) -> None:
        """Blend as after so many epochs of the stage; from the end of the transition on, not at all."""
        self.share.fill_(max(0.0, 1 - epochs_done / self.epochs))
        if epochs_done >= self.epochs:
            while self.hooks:
                self.hooks.pop().remove()

    def _mix(self, new: nn.Module, old: nn.Module) -> RemovableHandle:
        def mixed(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            before: Tensor = old(*inputs)
            return output + self.share * (before - output)

        return leaving_the_input(new).register_forward_hook(mixed)
