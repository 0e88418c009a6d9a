"""Means of weights: of several networks, or of one along its training."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from miha.problems.evaluation import forward, to_device
from miha.problems.problem import Problem
from miha.problems.samples import SampleSource


class RunningMean:
    """The exponential mean of a network's weights while it trains, in a second network.

    It tells after few epochs what annealing of the learning rate tells after many, and training goes on from the
    weights themselves (Ajroldi, Orvieto and Geiping 2025, arXiv 2502.06761). Until the horizon is reached, all steps
    count alike.

    Args:
        network: that trains.
        mean: the same network once more, on the same device, which gets the mean; after earlier steps, it has theirs.
        horizon: steps, at least 1: how far back the mean reaches; a step that is so long past counts 1/e of the last.
        steps: how many there were before.
    """

    def __init__(self, network: nn.Module, mean: nn.Module, horizon: int, steps: int) -> None:
        self.network, self.mean = network, mean
        self.horizon, self.steps = horizon, steps
        self._means = [parameter.detach() for parameter in mean.parameters()]
        self._weights = [parameter.detach() for parameter in network.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after another step into the mean."""
        self.steps += 1
        torch._foreach_lerp_(self._means, self._weights, max(1 / self.steps, 1 / self.horizon))

    @torch.no_grad()
    def take_buffers(self) -> None:
        """Give the mean whatever else the network has besides weights."""
        for mine, its in zip(self.mean.buffers(), self.network.buffers(), strict=True):
            mine.copy_(its)


def mean_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor of numbers with a fraction; of others (counters) the first."""
    first = states[0]
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


@torch.no_grad()
def estimate_batch_norm(
    network: nn.Module, problem: Problem, samples: SampleSource, batch_size: int, device: str
) -> None:
    """Take the running means and variances of batch normalisation anew: those of averaged weights are no average."""
    layers = [one for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    layers = [one for one in layers if one.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    for batch in samples.batches(batch_size):
        forward(network, problem, to_device(batch, device, problem.channels_last))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()
