"""What is left at visible pixels, spread into the gaps at four scales.

At each scale, from the coarsest to the finest, a pixel gets the Gaussian mean of what is near, and what the coarser
scale said counts as further observations of it (normalised convolution, Knutsson and Westin 1993). The coarser scales
are of the whole scene, on grids of cells; the finest is of a window and the REACH of pixels around it.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray

from miha.gapfill.guess import Window
from miha.rasters.stack import Image

STEP = 4  # cells of one scale, a side, that make one of the next
LEVELS = 3  # above that of pixels
SIGMA = 1.5  # of the Gaussian, pixels or cells
TRUNCATED = 3.0  # sigmas at which it ends
REACH = 5  # pixels that it reaches: SIGMA · TRUNCATED, rounded
AREA = 2 * np.pi * SIGMA**2
TRUST = (0.3, 3.0, 30.0, 300.0)  # observations that the next coarser scale counts as, from the finest


@dataclass(frozen=True)
class Spread:
    """What is expected of pixels (height, width), and the share of it that no visible pixel explains, 0 to 1."""

    mean: Image
    unknown: Image


class Cells:
    """Sums of what is left over cells of STEP x STEP pixels of a scene, gathered window by window."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.sums = np.zeros((2, -(-shape[0] // STEP), -(-shape[1] // STEP)), np.float32)

    def add(self, where: Window, left: Image) -> None:
        """Add a window (NaN in its gaps), whose first row and column are multiples of STEP."""
        rows, columns = (slice(part.start // STEP, -(-part.stop // STEP)) for part in where)
        self.sums[:, rows, columns] += _joined(_observed(left))

    def spread(self, trust: float = 1.0) -> NDArray[np.float32]:
        """Mean and unknown share, (2, rows, columns) of the cells; TRUST is multiplied by ``trust``."""
        levels = [self.sums]
        while len(levels) < LEVELS:
            levels.append(_joined(levels[-1]))
        found = np.stack([np.zeros_like(levels[-1][0]), np.ones_like(levels[-1][0])])
        for number, level in reversed(list(enumerate(levels, start=1))):
            if number < len(levels):
                found = enlarged(found, (slice(0, level.shape[1]), slice(0, level.shape[2])))
            found = _refined(level, found, trust * TRUST[number])
        return found


def _observed(left: Image) -> NDArray[np.float32]:
    """Values, 0 in the gaps, and numbers of observations."""
    seen = ~np.isnan(left)
    return np.stack([np.where(seen, left, np.float32(0)), seen.astype(np.float32)])


def _joined(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums over cells of STEP x STEP, the last ones with what there is."""
    height, width = (-(-size // STEP) * STEP for size in sums.shape[1:])
    padded = np.pad(sums, [(0, 0), (0, height - sums.shape[1]), (0, width - sums.shape[2])])
    rows = padded.reshape(2, height // STEP, STEP, width).sum(axis=2)
    return np.asarray(rows.reshape(2, height // STEP, width // STEP, STEP).sum(axis=3), np.float32)


def _refined(observed: NDArray[np.float32], coarser: NDArray[np.float32], trust: float) -> NDArray[np.float32]:
    smooth = [
        scipy.ndimage.gaussian_filter(part, SIGMA, mode="constant", truncate=TRUNCATED) * np.float32(AREA)
        for part in observed
    ]
    total = smooth[1] + np.float32(trust)
    return np.stack([(smooth[0] + np.float32(trust) * coarser[0]) / total, np.float32(trust) * coarser[1] / total])


def enlarged(cells: NDArray[np.float32], where: Window) -> NDArray[np.float32]:
    """Maps (n, rows, columns) of cells, interpolated to the pixels of a window."""
    for axis, part in enumerate(where, start=1):
        place = (np.arange(part.start, part.stop, dtype=np.float32) + 0.5) / STEP - 0.5
        place = place.clip(0, cells.shape[axis] - 1)
        below = np.minimum(place.astype(np.int64), max(cells.shape[axis] - 2, 0))
        above = np.minimum(below + 1, cells.shape[axis] - 1)
        share = (place - below).reshape((-1, 1) if axis == 1 else (-1,)).astype(np.float32)
        first, second = cells.take(below, axis), cells.take(above, axis)
        cells = first + share * (second - first)
    return cells


def spread_out(left: Image, where: Window, coarse: NDArray[np.float32], trust: float = 1.0) -> Spread:
    """Spread what is left in a window into its gaps.

    Args:
        left: (height, width), NaN in the gaps; of a window with REACH pixels around it that are taken from the scene.
        where: that window in the scene.
        coarse: what :meth:`Cells.spread` found for the whole scene.
        trust: as there.
    """
    mean, unknown = _refined(_observed(left), enlarged(coarse, where), trust * TRUST[0])
    return Spread(mean, unknown)
