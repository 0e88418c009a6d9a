"""How alike two pixels of a scene are: the covariance that a Gaussian process fills gaps by."""

from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 65_536  # numbers that are computed together: few enough to stay in the processor's cache


@dataclass(frozen=True)
class Kernel:
    """The numbers of the covariance, for a scene whose departure from its level has unit spread.

    Those of LEARNED come of ``python -m bench.kernel``: gaps pasted on history days of several data sets. It also shows
    what numbers do for a set that taught none of them, so nothing is learned when a scene is filled, unless it is alone
    (``fitting.py``).

    Variances of: linear regressions on the ``days``, on their ``smooth`` versions, and on ``level`` and static layers;
    a ``broad`` and a ``rough`` field in space; a field over what pixels are like (``kind``), and the same fading with
    distance (``local_kind``); a regression whose coefficients change over the scene (``drift``); ``noise``. Lengths
    are in pixels, ``kind_length`` in standard deviations of the features.
    """

    days: float
    smooth: float
    level: float
    broad: float
    broad_length: float
    rough: float
    rough_length: float
    kind: float
    kind_length: float
    local_kind: float
    local_length: float
    drift: float
    drift_length: float
    noise: float


LEARNED = Kernel(
    days=0.1223,
    smooth=0.08455,
    level=0.1273,
    broad=0.3812,
    broad_length=34.11,
    rough=0.1176,
    rough_length=2.403,
    kind=0.1686,
    kind_length=2.275,
    local_kind=0.1185,
    local_length=6.667,
    drift=0.02721,
    drift_length=54.9,
    noise=0.02153,
)


@dataclass(frozen=True)
class Pixels:
    """Features of pixels, each (…, pixels, n): what a scene regresses on, weighed, where and what they are.

    Attributes:
        linear: days, smoothed days, level and static layers.
        drifting: what has coefficients that change over the scene.
        positions: row and column, pixels.
        kinds: what a pixel is like, in lengths of the kernel.
    """

    linear: Tensor
    drifting: Tensor
    positions: Tensor
    kinds: Tensor

    def __getitem__(self, chosen: "Tensor | slice") -> "Pixels":
        return Pixels(*(part[chosen] for part in self._parts()))

    def single(self) -> "Pixels":
        """Each pixel as a set of its own: (pixels, 1, n)."""
        return Pixels(*(part[:, None] for part in self._parts()))

    def _parts(self) -> tuple[Tensor, ...]:
        return self.linear, self.drifting, self.positions, self.kinds


def covariance(kernel: Kernel, one: Pixels, other: Pixels, far: bool = False) -> Tensor:
    """Covariance (…, n, m) of pixels (…, n) and (…, m), without noise.

    Matérn is of smoothness 3/2 (Rasmussen and Williams 2006, equation 4.17).

    Args:
        kernel: its numbers.
        one: pixels.
        other: pixels.
        far: only of terms that reach far: all but ``rough`` and ``local_kind``.
    """
    products = one.linear @ other.linear.mT, one.drifting @ other.drifting.mT, 2 * one.kinds @ other.kinds.mT
    rows, columns = products[0].shape[-2:]
    step, parts = max(1, PIECE // max(columns, 1)), []
    for start in range(0, max(rows, 1), step):
        part = slice(start, start + step)
        regressed, drifting, alike = (product[..., part, :] for product in products)
        distance = _distance(one.positions[..., part, :], other.positions)
        kind = _matern(_feature_distance(one.kinds[..., part, :], other.kinds, alike))
        drift = _matern(distance / kernel.drift_length) * drifting
        covaried = regressed + kernel.broad * _matern(distance / kernel.broad_length)
        if far:
            kind = kind * kernel.kind
        else:
            covaried = covaried + kernel.rough * _exp(-distance / kernel.rough_length)
            kind = kind * (kernel.kind + kernel.local_kind * _exp(-distance / kernel.local_length))
        parts.append(covaried + kind + kernel.drift * drift)
    return torch.cat(parts, dim=-2)


def variance(kernel: Kernel, pixels: Pixels) -> Tensor:
    """Variance (…, n) of each pixel, without noise: the diagonal of :func:`covariance`."""
    regressed = (pixels.linear**2).sum(-1) + kernel.drift * (pixels.drifting**2).sum(-1)
    return regressed + kernel.broad + kernel.rough + kernel.kind + kernel.local_kind


def _matern(scaled: Tensor) -> Tensor:
    root = scaled * 3**0.5
    return (1 + root) * _exp(-root)


def _exp(exponent: Tensor) -> Tensor:
    """What float32 can hardly hold takes ten times as long, and is nothing beside the other terms."""
    return torch.exp(exponent.clamp(min=-80))


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Between positions, from their differences: squares of large coordinates would lose the small distances."""
    squares = [(one[..., :, None, axis] - other[..., None, :, axis]) ** 2 for axis in range(2)]
    return (squares[0] + squares[1]).clamp(min=1e-8).sqrt()


def _feature_distance(one: Tensor, other: Tensor, twice: Tensor) -> Tensor:
    squares = (one**2).sum(-1)[..., :, None] + (other**2).sum(-1)[..., None, :]
    return (squares - twice).clamp(min=1e-8).sqrt()
