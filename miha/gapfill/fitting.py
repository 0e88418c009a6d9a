"""The kernel fitted to a scene that no other day tells about: from its visible part alone, by what that makes likely.

Each step asks how likely a few visible pixels are, given their nearest among those before them in a random order: a
part of Vecchia's likelihood (Katzfuss and Guinness 2021, Stat. Sci. 36, 124-141), so a step costs the same in scenes of
any size. In a random order the nearest are anything from a pixel to a scene away, as they are in gaps.
"""

import math
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from miha.gapfill.features import Features
from miha.gapfill.kernel import LEARNED, Kernel, covariance
from miha.gapfill.neighbours import earlier_neighbours
from miha.threads import fixed_threads

STEPS, RATE = 150, 0.08  # of Adam, and its learning rate, which falls to zero
PREDICTED, IN_A_STEP = 6000, 300  # visible pixels that are predicted at most, and in one step
NEIGHBOURS = 20  # visible pixels that predict one
FROM = 2 * NEIGHBOURS  # place in the order from which a pixel has so many before it
FREEDOM, PULL = 1.5, 1.0  # deviations of logarithms of the numbers, and of the stretching, from where they start
JITTER = 1e-3


def fit_to_scene(
    features: Features, visible: Tensor, values: Tensor, rng: np.random.Generator
) -> tuple[Kernel, Tensor]:
    """The numbers under which the visible part of a scene is likely, and how its positions are to be stretched.

    The logarithms of the numbers start at those of LEARNED and are drawn back to them; numbers of terms that the scene
    lacks stay. The kernel knows no direction: a scene whose structures lie along one is stretched across it.

    Args:
        features: of all pixels.
        visible: numbers (n) of visible pixels, in random order.
        values: (n) of their departures from the level, in deviations.
        rng: draws the pixels of each step.

    Returns:
        The kernel, and the matrix (2, 2) that positions are multiplied by.
    """
    if len(visible) <= FROM:
        return LEARNED, torch.eye(2)
    predicted = rng.choice(np.arange(FROM, len(visible)), min(PREDICTED, len(visible) - FROM), replace=False)
    near = earlier_neighbours(features.positions[visible].numpy(), NEIGHBOURS)[predicted]
    sets = torch.from_numpy(np.concatenate([predicted[:, None], near], axis=1))
    start = {name: math.log(value) for name, value in asdict(LEARNED).items()}
    logarithms = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    pull = torch.zeros(2, requires_grad=True)
    learned = [*logarithms.values(), pull]
    optimizer = torch.optim.Adam(learned, lr=RATE)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    with fixed_threads(1):
        for _ in range(STEPS):
            some = sets[torch.from_numpy(rng.permutation(len(sets))[:IN_A_STEP])]
            kernel = Kernel(**{name: value.exp() for name, value in logarithms.items()})  # type: ignore[arg-type]
            numbers = visible[some].ravel()
            stretched = features[numbers].stretched(stretching(pull))
            surprise = _surprise(kernel, stretched, values[some].float())
            strayed = sum(((logarithms[name] - value) / FREEDOM) ** 2 for name, value in start.items())
            loss = surprise + (strayed + ((pull / PULL) ** 2).sum()) / (2 * len(sets))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            falling.step()
    return Kernel(**{name: math.exp(float(value.detach())) for name, value in logarithms.items()}), stretching(
        pull.detach()
    )


def stretching(pull: Tensor) -> Tensor:
    """The matrix (2, 2) that stretches by exp(‖pull‖) along one axis, by its inverse across; (0, 0) is no stretching.

    It is the exponential of the symmetric matrix [[a, b], [b, -a]]: areas stay, and any axis is as near as any other.
    """
    size = ((pull**2).sum() + 1e-12).sqrt()
    turned = torch.stack([pull, pull.flip(0) * torch.tensor([1.0, -1.0])])
    return torch.cosh(size) * torch.eye(2) + torch.sinh(size) / size * turned


def _surprise(kernel: Kernel, features: Features, values: Tensor) -> Tensor:
    """Mean negative log likelihood of the first value of each set (sets, 1 + NEIGHBOURS), given its others."""
    pixels = features.weighed(kernel)[torch.arange(values.numel()).reshape(values.shape)]
    within = covariance(kernel, pixels, pixels) + (kernel.noise + JITTER) * torch.eye(values.shape[1])
    towards = within[:, 1:, :1]
    weights = torch.cholesky_solve(towards, torch.linalg.cholesky(within[:, 1:, 1:]))
    off = values[:, 0] - (weights[..., 0] * values[:, 1:]).sum(1)
    left = (within[:, 0, 0] - (weights * towards).sum((1, 2))).clamp(min=JITTER)
    return (left.log() + off**2 / left).mean() / 2
