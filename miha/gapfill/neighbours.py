"""Which visible pixels tell most about others: the nearest ones."""

import numpy as np
import scipy
from numpy.typing import NDArray


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
