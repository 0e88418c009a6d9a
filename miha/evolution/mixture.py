"""Two activations side by side in one layer: of every two neighbouring channels one takes the other activation."""

import random

import torch
from torch import Tensor, nn

_PERIOD = 4096  # channels after which the draw repeats itself
_CHANNELS_FIRST = ("Conv", "BatchNorm", "SyncBatchNorm", "GroupNorm", "InstanceNorm")  # how names of classes begin


class Mixture(nn.Module):
    """Applies one activation to half of the channels, and another to the other half.

    Args:
        first: of the channels that are not drawn.
        second: of those that are drawn: one of channels 0 and 1, one of channels 2 and 3, and so on.
        draw: number of the draw; the same number always draws the same channels.
        axis: of the channels, 1 or -1.
    """

    drawn: Tensor

    def __init__(self, first: nn.Module, second: nn.Module, draw: int, axis: int) -> None:
        super().__init__()
        self.first, self.second, self.draw, self.axis = first, second, draw, axis
        chance = random.Random(draw)  # its random() is the same in every version of Python
        pairs = [chance.random() < 0.5 for _ in range(_PERIOD // 2)]
        drawn = torch.tensor([each for one in pairs for each in (one, not one)])
        self.register_buffer("drawn", drawn, persistent=False)  # follows from the number: no part of the weights

    def forward(self, inputs: Tensor) -> Tensor:
        channels = inputs.shape[self.axis]
        drawn = self.drawn.repeat(-(-channels // _PERIOD))[:channels]
        if self.axis == 1:
            drawn = drawn.reshape(channels, *[1] * (inputs.dim() - 2))
        return torch.where(drawn, self.second(inputs), self.first(inputs))


def channel_axis(network: nn.Module, path: str) -> int:
    """The axis of the channels that the activation at a module path is given.

    The layer with weights that comes before it in the order of modules tells: after a convolution, or a normalisation
    of channels, it is axis 1, and after any other, as ``nn.Linear``, the last.
    """
    axis = -1
    for place, module in network.named_modules():
        if place == path:
            break
        if any(True for _ in module.parameters(recurse=False)):
            axis = 1 if type(module).__name__.startswith(_CHANNELS_FIRST) else -1
    return axis
