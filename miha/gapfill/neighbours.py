"""Which visible pixels tell most about others, the nearest ones and those along the gaps; and which lie together."""

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor


def earlier_neighbours(positions: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """For each of n points the numbers (n, count) of near ones among those before it; -1 where there are fewer.

    They are looked for in blocks that double, among all points before the block, so that a few trees suffice.
    """
    neighbours = np.full((len(positions), count), -1)
    start = 1
    while start < len(positions):
        block, found = slice(start, 2 * start), min(count, start)
        nearest = scipy.spatial.cKDTree(positions[:start]).query(positions[block], found)[1]
        neighbours[block, :found] = nearest.reshape(-1, found)
        start *= 2
    return neighbours


def along_gaps(
    visible: NDArray[np.int64], shape: tuple[int, ...], at_most: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Of flat indices of visible pixels, in random order: all, or ``at_most``, half at random, half next to gaps."""
    order = rng.permutation(visible)
    if len(order) <= at_most:
        return order
    drawn, others = np.split(order, [at_most // 2])
    seen = np.zeros(shape, bool)
    seen.flat[visible] = True
    distance = scipy.ndimage.distance_transform_edt(seen).flat[others]
    near = others[np.argsort(distance, kind="stable")[: at_most - len(drawn)]]
    return rng.permutation(np.concatenate([drawn, near]))


def squares(positions: Tensor, side: int) -> tuple[Tensor, ...]:
    """Numbers of points (n, 2), by the square of ``side`` that they lie in."""
    _, square, counts = torch.unique((positions / side).floor(), dim=0, return_inverse=True, return_counts=True)
    numbers: tuple[Tensor, ...] = square.argsort(stable=True).split(counts.tolist())
    return numbers
