"""Cloud gaps to practise on: real masks of other days, and smooth blobs for the sizes that no day has.

Pasting the cloud mask of one day on the clear pixels of another is how DINCAE trains (Barth et al. 2020, Geosci. Model
Dev. 13, 1609-1622, section 3).
"""

from dataclasses import dataclass

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray

from miha.rasters.stack import Mask

SMALLEST, LARGEST = 0.02, 0.97  # fractions of the scene; a gap outside gives nothing to learn, or nothing to learn from
GOLDEN = 0.6180339887498949
_LIKE_SIZE = 0.1  # a real mask stands in for a wanted fraction when it is at most this far from it


@dataclass(frozen=True)
class Gaps:
    """The real cloud masks of a stack, to draw pasted gaps from."""

    masks: NDArray[np.bool_]  # (masks, height, width)

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> "Gaps":
        """The masks of a stack (days, height, width) whose size is between SMALLEST and LARGEST of the scene."""
        masks = np.isnan(values)
        fractions = masks.mean(axis=(1, 2))
        return cls(masks[(fractions >= SMALLEST) & (fractions <= LARGEST)])

    def draw(self, fraction: float, shape: tuple[int, int], rng: np.random.Generator) -> Mask:
        """Draw a gap of about ``fraction`` of the scene: half of the time a real mask, mirrored at random.

        Where no real mask is of that size, or the coin says so, a blob of exactly that size.
        """
        alike = np.flatnonzero(np.abs(self.masks.mean(axis=(1, 2)) - fraction) <= _LIKE_SIZE)
        if len(alike) and rng.random() < 0.5:
            mask = self.masks[rng.choice(alike)]
            return np.ascontiguousarray(mask[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])])
        return blob(fraction, shape, rng)


def spread_sizes(number: int, smallest: float, largest: float) -> float:
    """A size for gap ``number``; those of successive ones spread evenly over the range, however many there are.

    By multiples of the golden ratio (Weyl's equidistribution).
    """
    return smallest + (largest - smallest) * (number * GOLDEN % 1)


def blob(fraction: float, shape: tuple[int, int], rng: np.random.Generator) -> Mask:
    """A smooth random shape that covers ``fraction`` (0 to 1) of a scene of ``shape``.

    White noise smoothed at a random scale (2 % to 20 % of the scene's shorter side) and cut at its quantile.
    """
    scale = min(shape) * np.exp(rng.uniform(np.log(0.02), np.log(0.2)))
    field = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), scale, mode="reflect")
    return np.asarray(field > np.quantile(field, 1 - fraction))
