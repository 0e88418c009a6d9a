"""How alike two pixels of a scene are: the covariance that a Gaussian process fills gaps by."""

from dataclasses import dataclass, fields, replace

import numpy as np
import scipy  # loads its ndimage on first use
import torch
from numpy.typing import NDArray
from torch import Tensor

from miha.gapfill.predictors import Background, Static
from miha.rasters.stack import Image

SCORES = 10  # principal components of the days that tell how alike two pixels behave
SMOOTHING = 1.5  # pixels
RIDGE = 0.1  # penalty of an imputed day, in mean variances of the others


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


@dataclass(frozen=True)
class Features:
    """Features of every pixel of a scene, (pixels, n), before a kernel weighs them."""

    days: Tensor
    smooth: Tensor
    level: Tensor
    kinds: Tensor
    positions: Tensor

    @classmethod
    def of(cls, background: Background, static: Static) -> "Features":
        """Of the other days (their gaps imputed by ridge), their level, and static layers.

        Where there is no other day, the place of a pixel stands for its level: it is regressed on rows and columns.
        """
        level, shape = background.level, background.level.shape
        days = impute(background)
        smooth = np.stack([_smoothed(day) for day in days]) if len(days) else days
        flat = _standardised(days)
        scores = _scores(flat)
        places = np.indices(shape, np.float32)
        levels = _standardised(places if background.is_empty else np.stack([level, _smoothed(level)]))
        continuous, one_hot = _standardised(static.continuous), _standardised(static.one_hot)
        one_hot_as_is = static.one_hot.reshape(len(static.one_hot), level.size)
        return cls(
            days=_by_pixel(flat),
            smooth=_by_pixel(_standardised(smooth)),
            level=_by_pixel(np.concatenate([levels, continuous, one_hot])),
            kinds=_by_pixel(np.concatenate([scores * np.sqrt(level.size), levels, continuous, one_hot_as_is])),
            positions=_by_pixel(places),
        )

    def __getitem__(self, chosen: Tensor) -> "Features":
        """Features of some pixels, by their numbers."""
        return Features(**{part.name: getattr(self, part.name)[chosen] for part in fields(self)})

    def stretched(self, by: Tensor) -> "Features":
        """The same, positions multiplied by a matrix (2, 2)."""
        return replace(self, positions=self.positions @ by)

    def weighed(self, kernel: Kernel) -> Pixels:
        """All pixels, with the weights of a kernel."""
        days, levels = max(self.days.shape[1], 1), self.level.shape[1]
        return Pixels(
            linear=torch.cat(
                [
                    self.days * (kernel.days / days) ** 0.5,
                    self.smooth * (kernel.smooth / days) ** 0.5,
                    self.level * (kernel.level / levels) ** 0.5,
                ],
                dim=1,
            ),
            drifting=torch.cat([self.level[:, [0, *range(2, min(3, levels))]], self.days * (0.5 / days) ** 0.5], dim=1),
            positions=self.positions,
            kinds=self.kinds / (kernel.kind_length * self.kinds.shape[1] ** 0.5),
        )


def covariance(kernel: Kernel, one: Pixels, other: Pixels) -> Tensor:
    """Covariance (…, n, m) of pixels (…, n) and (…, m), without noise.

    Matérn is of smoothness 3/2 (Rasmussen and Williams 2006, equation 4.17).
    """
    distance = _distance(one.positions, other.positions)
    kind = _matern(_feature_distance(one.kinds, other.kinds))
    drift = _matern(distance / kernel.drift_length) * (one.drifting @ other.drifting.mT)
    return (
        one.linear @ other.linear.mT
        + kernel.broad * _matern(distance / kernel.broad_length)
        + kernel.rough * torch.exp(-distance / kernel.rough_length)
        + kind * (kernel.kind + kernel.local_kind * torch.exp(-distance / kernel.local_length))
        + kernel.drift * drift
    )


def variance(kernel: Kernel, pixels: Pixels) -> Tensor:
    """Variance (…, n) of each pixel, without noise: the diagonal of :func:`covariance`."""
    regressed = (pixels.linear**2).sum(-1) + kernel.drift * (pixels.drifting**2).sum(-1)
    return regressed + kernel.broad + kernel.rough + kernel.kind + kernel.local_kind


def impute(background: Background) -> NDArray[np.float32]:
    """Anomalies (days, height, width) of the other days, the gaps of each filled by ridge on all others."""
    shape = (len(background.anomalies), background.level.size)
    anomalies = np.nan_to_num(background.anomalies).reshape(shape).astype(np.float64)
    seen = ~np.isnan(background.anomalies).reshape(anomalies.shape)
    imputed = anomalies.copy()
    for day, visible in enumerate(seen):
        others = np.delete(anomalies, day, axis=0)
        if visible.all() or not visible.any() or not len(others):
            continue
        means, mean = others[:, visible].mean(axis=1, keepdims=True), anomalies[day, visible].mean()
        centred = others[:, visible] - means
        products = centred @ centred.T
        penalty = RIDGE * np.trace(products) / len(others) + 1e-6
        slopes = np.linalg.solve(products + penalty * np.eye(len(others)), centred @ (anomalies[day, visible] - mean))
        imputed[day, ~visible] = mean + slopes @ (others[:, ~visible] - means)
    return imputed.reshape(background.anomalies.shape).astype(np.float32)


def _matern(scaled: Tensor) -> Tensor:
    root = scaled * 3**0.5
    return (1 + root) * torch.exp(-root)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Between positions, from their differences: squares of large coordinates would lose the small distances."""
    squares = [(one[..., :, None, axis] - other[..., None, :, axis]) ** 2 for axis in range(2)]
    return (squares[0] + squares[1]).clamp(min=1e-8).sqrt()


def _feature_distance(one: Tensor, other: Tensor) -> Tensor:
    squares = (one**2).sum(-1)[..., :, None] + (other**2).sum(-1)[..., None, :]
    return (squares - 2 * one @ other.mT).clamp(min=1e-8).sqrt()


def _scores(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first principal components (SCORES, pixels) of days (days, pixels), the first of unit length."""
    if not len(days):
        return days
    _, sizes, components = np.linalg.svd(days, full_matrices=False)
    return np.asarray(components[:SCORES] * (sizes[:SCORES, None] / max(sizes[0], 1e-6)))


def _smoothed(image: Image) -> Image:
    return np.asarray(scipy.ndimage.gaussian_filter(image, SMOOTHING, mode="nearest"))


def _standardised(layers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Layers (n, height, width) → (n, pixels) of zero mean and unit spread."""
    flat = layers.reshape(len(layers), int(np.prod(layers.shape[1:]))).astype(np.float64)
    return np.asarray((flat - flat.mean(axis=1, keepdims=True)) / (flat.std(axis=1, keepdims=True) + 1e-6))


def _by_pixel(layers: NDArray[np.generic]) -> Tensor:
    flat = layers.reshape(len(layers), int(np.prod(layers.shape[1:])))
    return torch.from_numpy(np.ascontiguousarray(flat.T, np.float32))
