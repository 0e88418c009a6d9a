"""How much of a correction is used: what networks learn from few days is part signal, part chance."""

import torch
from torch import Tensor, nn

from miha.evolution.fitness import noise
from miha.problems.evaluation import batches_of, forward
from miha.problems.problem import Problem
from miha.problems.samples import SampleSource

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def trusted_share(network: nn.Module, problem: Problem, samples: SampleSource, device: str = "cpu") -> float:
    """The share of SHARES whose validation loss, raised by its standard error, is the lowest.

    The error is that of the difference to the loss without any correction, over independent blocks of samples (days).
    So less of a correction is used the more it differs from day to day whether it helps, and none that helps by
    chance. A validation loss is convex in the share.

    Args:
        network: gives corrections, 0 for none.
        problem: whose loss it is.
        samples: from which the network did not learn.
        device: of the network.
    """
    network.eval()
    losses = torch.zeros(len(SHARES), len(samples.blocks), dtype=torch.float64)
    for block, batch in batches_of(samples, problem, device):
        output: Tensor = forward(network, problem, batch)
        for number, share in enumerate(SHARES):
            losses[number, block] += float(problem.validation(share * output, batch)[0])
    without, *others = losses.tolist()
    raised = [sum(some) - sum(without) + noise(1.0, some, without) for some in others]
    return SHARES[1 + raised.index(min(raised))] if min(raised) < 0 else SHARES[0]
