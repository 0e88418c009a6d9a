"""The numbers of a covariance, fitted to a scene that no other day tells about: from its visible part alone.

Each step asks how likely a few visible pixels are, given their nearest among those before them in a random order: a
part of Vecchia's likelihood (Katzfuss and Guinness 2021, Stat. Sci. 36, 124-141), so a step costs the same in scenes of
any size. In a random order the nearest are anything from a pixel to a scene away, as they are in gaps.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from miha.gapfill.neighbours import earlier_neighbours
from miha.threads import fixed_threads

STEPS, RATE = 150, 0.08  # of Adam, and its learning rate, which falls to zero
PREDICTED, IN_A_STEP = 6000, 300  # visible pixels that are predicted at most, and in one step
NEIGHBOURS = 30  # visible pixels that predict one
FROM = 2 * NEIGHBOURS  # place in the order from which a pixel has so many before it
FREEDOM, PULL = 1.5, 1.0  # deviations of logarithms of the numbers, and of the stretching, from where they start
JITTER = 1e-3

Numbers = dict[str, Tensor]
Covariance = Callable[[Numbers, Tensor, Tensor], Tensor]


def fit_to_scene(
    start: dict[str, float],
    covariance: Covariance,
    positions: NDArray[np.float32],
    values: Tensor,
    rng: np.random.Generator,
) -> tuple[dict[str, float], Tensor]:
    """The numbers under which the visible part of a scene is likely, and how its positions are to be stretched.

    The logarithms of the numbers are drawn back to where they start; numbers of terms that the scene lacks stay.
    A covariance knows no direction: a scene whose structures lie along one is stretched across it.

    Args:
        start: positive numbers by name; they stay where there are few pixels.
        covariance: with these numbers and the stretching, of sets of pixels (sets, k) by their place in ``positions``:
            (sets, k, k), noise included.
        positions: (n, 2), row and column of visible pixels, in random order.
        values: (n), of zero median and unit spread.
        rng: draws the pixels of each step.

    Returns:
        The numbers, and the matrix (2, 2) that positions are multiplied by.
    """
    if len(positions) <= FROM:
        return start, torch.eye(2)
    predicted = rng.choice(np.arange(FROM, len(positions)), min(PREDICTED, len(positions) - FROM), replace=False)
    near = earlier_neighbours(positions, NEIGHBOURS)[predicted]
    sets = torch.from_numpy(np.concatenate([predicted[:, None], near], axis=1))
    origin = {name: math.log(value) for name, value in start.items()}
    logarithms = {name: torch.tensor(value, requires_grad=True) for name, value in origin.items()}
    pull = torch.zeros(2, requires_grad=True)
    learned = [*logarithms.values(), pull]
    optimizer = torch.optim.Adam(learned, lr=RATE)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    with fixed_threads(1):
        for _ in range(STEPS):
            some = sets[torch.from_numpy(rng.permutation(len(sets))[:IN_A_STEP])]
            numbers = {name: value.exp() for name, value in logarithms.items()}
            within = covariance(numbers, stretching(pull), some) + JITTER * torch.eye(some.shape[1])
            strayed = sum(((logarithms[name] - value) / FREEDOM) ** 2 for name, value in origin.items())
            prior = (strayed + ((pull / PULL) ** 2).sum()) / (2 * len(sets))
            loss = _surprise(within, values[some].float()) + prior
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            falling.step()
    return {name: math.exp(float(value.detach())) for name, value in logarithms.items()}, stretching(pull.detach())


def stretching(pull: Tensor) -> Tensor:
    """The matrix (2, 2) that stretches by exp(‖pull‖) along one axis, by its inverse across; (0, 0) is no stretching.

    It is the exponential of the symmetric matrix [[a, b], [b, -a]]: areas stay, and any axis is as near as any other.
    """
    size = ((pull**2).sum() + 1e-12).sqrt()
    turned = torch.stack([pull, pull.flip(0) * torch.tensor([1.0, -1.0])])
    return torch.cosh(size) * torch.eye(2) + torch.sinh(size) / size * turned


def _surprise(within: Tensor, values: Tensor) -> Tensor:
    """Mean negative log likelihood of the first value of each set (sets, k), given its others, by their covariance."""
    towards = within[:, 1:, :1]
    weights = torch.cholesky_solve(towards, torch.linalg.cholesky(within[:, 1:, 1:]))
    off = values[:, 0] - (weights[..., 0] * values[:, 1:]).sum(1)
    left = (within[:, 0, 0] - (weights * towards).sum((1, 2))).clamp(min=JITTER)
    return (left.log() + off**2 / left).mean() / 2
