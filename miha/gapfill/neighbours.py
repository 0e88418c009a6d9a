"""Which visible pixels tell most about others: the nearest ones, and those along the gaps."""

import numpy as np
import scipy
from numpy.typing import NDArray

from miha.rasters.stack import Image


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


def along_gaps(scene: Image, at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Flat indices of visible pixels: all, or ``at_most``, half drawn at random, half the nearest to a gap."""
    visible = rng.permutation(np.flatnonzero(~np.isnan(scene)))
    if len(visible) <= at_most:
        return visible
    drawn, others = np.split(visible, [at_most // 2])
    distance = scipy.ndimage.distance_transform_edt(~np.isnan(scene)).flat[others]
    return np.concatenate([drawn, others[np.argsort(distance, kind="stable")[: at_most - len(drawn)]]])
