"""A Gaussian process that fills a scene, with how sure it is.

It is fitted to the visible pixels that tell most: half of them along the gaps. Small scenes are solved densely. Large
ones are approximated, so that the cost grows linearly in pixels (``full_scale.py``).
"""

import math
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from miha.gapfill.features import Features
from miha.gapfill.fitting import Numbers, fit_to_scene
from miha.gapfill.full_scale import JITTER, FullScale
from miha.gapfill.guess import WHOLE, Window, drawn
from miha.gapfill.intervals import NORMAL, Intervals, intervals_of
from miha.gapfill.kernel import LEARNED, Kernel, Pixels, covariance, variance
from miha.gapfill.neighbours import along_gaps, squares
from miha.gapfill.predictors import Background
from miha.rasters.stack import Image
from miha.threads import fixed_threads

SMALL = 12_000  # visible pixels up to which a scene is solved densely
MOST_VISIBLE = 30_000  # of larger ones that are fitted
LOOKED_AT = 4_000_000  # pixels of a scene at most among which visible ones are drawn
LEAST = 0.25  # that a deviation is multiplied by: a few pixels may be predicted well by chance
SQUARE = 12  # pixels a side, of what is left out together to see how sure a dense process may be
PART = 10_000  # pixels that are looked at together: memory does not grow with the gap


@dataclass(frozen=True)
class Size:
    """What a fit costs: about proportional to the square of ``dense``, and to ``inducing``.

    Attributes:
        dense: visible pixels of small scenes that are used.
        inducing: those of large scenes that all others are seen through.
    """

    dense: int = 3000
    inducing: int = 400


@dataclass(frozen=True)
class Posterior:
    """Maps (height, width) of one scene, in its unit: the expected values, and their standard deviation.

    Of the process itself visible pixels are as they are, with a deviation of 0; ``calibration`` is its
    :attr:`Process.calibration`, ``intervals`` say how many deviations each way hold how many of the errors.
    """

    mean: Image
    std: Image
    calibration: float = 1.0
    intervals: Intervals = field(default_factory=lambda: NORMAL)


def fill_by_process(
    scene: Image,
    background: Background,
    features: Features,
    rng: np.random.Generator,
    kernel: Kernel = LEARNED,
    size: Size = Size(),
    window: Window = WHOLE,
) -> Posterior:
    """Fill a scene (NaN in the gaps; at least one visible pixel) from its visible part and the features of its pixels.

    Where no other day tells about it, the kernel is fitted to the scene itself.

    Args:
        scene: (height, width).
        background: the other days; the caller leaves out the scene's own.
        features: of ``background`` and the static layers.
        rng: draws visible pixels, and their order; the first of them induce.
        kernel: of the departure from the level, less its median, over its deviation; unless it is fitted.
        size: what the fit costs.
        window: rows and columns for which maps are wanted.
    """
    departure = (scene - background.level).ravel()
    visible = pixels_to_fit(np.flatnonzero(~np.isnan(scene)), scene.shape, size, rng)
    gap = np.isnan(scene[window])
    asked = np.arange(scene.size).reshape(scene.shape)[window][gap]
    filled = Posterior(scene[window].copy(), np.zeros_like(scene[window]))
    if len(asked):
        known = features[torch.from_numpy(visible)]
        if background.is_empty:
            process = Process.alone(known, departure[visible], rng, size)
        else:
            process = Process.fit(known, departure[visible], kernel, size)
        expected, deviation = process.at(features[torch.from_numpy(asked)])
        filled.mean[gap], filled.std[gap] = background.level.flat[asked] + expected, deviation
        return replace(filled, calibration=process.calibration, intervals=process.intervals)
    return filled


def pixels_to_fit(
    visible: NDArray[np.int64], shape: tuple[int, ...], size: Size, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Of flat indices of the visible pixels of a scene, in random order, those that the process is fitted to.

    Of a scene of more than LOOKED_AT pixels ``visible`` are but some, so that it is not known which lie along gaps.
    """
    if math.prod(shape) > LOOKED_AT:
        return rng.permutation(drawn(visible, MOST_VISIBLE, rng))
    return along_gaps(visible, shape, size.dense if len(visible) <= SMALL else MOST_VISIBLE, rng)


@dataclass(frozen=True)
class Process:
    """A Gaussian process, given the visible pixels of a scene.

    Attributes:
        calibration: what deviations are multiplied by: the root mean square of errors on visible pixels over the
            deviations that the kernel says, each pixel predicted from others. It is the cross-validation estimate of
            a variance (Bachoc 2013, Comput. Stat. Data Anal. 66, 55-69). 1 of a kernel that was fitted to the scene.
        intervals: by the same errors.
    """

    fitted: "_Dense | FullScale"
    kernel: Kernel
    stretching: Tensor
    median: float
    deviation: float
    calibration: float
    intervals: Intervals

    @classmethod
    def fit(
        cls,
        known: Features,
        departures: NDArray[np.float32],
        kernel: Kernel = LEARNED,
        size: Size = Size(),
        stretching: Tensor | None = None,
    ) -> "Process":
        """Of visible pixels in random order: densely, or where they are many with the first of them inducing.

        Args:
            known: their features.
            departures: (pixels,), from the level, in the data's unit.
            kernel: of departures less their median, over their deviation.
            size: what the fit costs.
            stretching: (2, 2), what positions are multiplied by.
        """
        median, deviation = centre_and_spread(departures)
        stretching = torch.eye(2) if stretching is None else stretching
        with torch.inference_mode(), fixed_threads(1):
            pixels = known.stretched(stretching).weighed(kernel)
            values = _standard(departures)
            dense = len(values) <= size.dense
            fitted = _Dense(kernel, pixels, values) if dense else FullScale(kernel, pixels, values, size.inducing)
            calibration = max(float((fitted.off**2).mean().sqrt()), LEAST) if len(fitted.off) else 1.0
            return cls(fitted, kernel, stretching, median, deviation, calibration, intervals_of(fitted.off))

    @classmethod
    def alone(
        cls, known: Features, departures: NDArray[np.float32], rng: np.random.Generator, size: Size = Size()
    ) -> "Process":
        """The same where no other day tells of the scene: the kernel is fitted to it too."""

        def likeness(numbers: Numbers, by: Tensor, sets: Tensor) -> Tensor:
            kernel = Kernel(**numbers)  # type: ignore[arg-type]
            pixels = known[sets.ravel()].stretched(by).weighed(kernel)[torch.arange(sets.numel()).reshape(sets.shape)]
            return covariance(kernel, pixels, pixels) + kernel.noise * torch.eye(sets.shape[1])

        numbers, by = fit_to_scene(asdict(LEARNED), likeness, known.positions.numpy(), _standard(departures), rng)
        return replace(cls.fit(known, departures, Kernel(**numbers), size, by), calibration=1.0)

    def at(self, asked: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expected departures of pixels that are not visible, and their standard deviations, in the data's unit."""
        with torch.inference_mode(), fixed_threads(1):
            expected, variances = self.fitted.at(asked.stretched(self.stretching).weighed(self.kernel))
        deviations = self.calibration * self.deviation * variances.sqrt().numpy()
        return self.median + self.deviation * expected.numpy(), deviations


def _standard(departures: NDArray[np.float32]) -> Tensor:
    median, deviation = centre_and_spread(departures)
    return torch.from_numpy(((departures - median) / deviation).astype(np.float64))


def centre_and_spread(departures: NDArray[np.float32]) -> tuple[float, float]:
    """What a scene's departures from its level are standardised by: their median, and their deviation from it.

    The deviation is the median absolute one, or the usual one where most pixels are alike (snow, no rain).
    """
    median = float(np.median(departures))
    spread, robust = float(departures.std()), 1.4826 * float(np.median(np.abs(departures - median)))
    return median, max(robust if robust > 0.1 * spread else spread, 1e-6)


class _Dense:
    """The process, given visible pixels, with the covariance of all of them.

    Attributes:
        off: (n), errors of visible pixels, each predicted from those outside of its square of SQUARE pixels a side,
            over the deviations that the kernel says. A pixel is too easily told from those beside it. All follow from
            one inverse of the covariance (Ginsbourger and Schärer 2021, arXiv 2101.03108).
    """

    def __init__(self, kernel: Kernel, visible: Pixels, values: Tensor) -> None:
        self.kernel, self.visible = kernel, visible
        within = covariance(kernel, visible, visible)
        within.diagonal().add_(kernel.noise + JITTER)
        self.root = torch.linalg.cholesky(within)
        self.weights = torch.cholesky_solve(values.float()[:, None], self.root)[:, 0]
        inverse = torch.linalg.solve_triangular(self.root, torch.eye(len(self.root)), upper=False)
        self.off = torch.empty(len(values), dtype=torch.float64)
        for square in squares(visible.positions, SQUARE):
            some = inverse[:, square].double()
            left = torch.linalg.inv(some.mT @ some)
            self.off[square] = left @ self.weights[square].double() / left.diagonal().sqrt()

    def at(self, asked: Pixels) -> tuple[Tensor, Tensor]:
        """Mean and variance, noise included, of pixels that are not visible, in deviations of the scene."""
        mean, variances = torch.empty(2, len(asked.positions), dtype=torch.float64)
        for part in torch.arange(len(mean)).split(PART):
            towards = covariance(self.kernel, self.visible, asked[part])
            explained = (torch.linalg.solve_triangular(self.root, towards, upper=False) ** 2).sum(0)
            left = (variance(self.kernel, asked[part]) - explained).clamp(min=1e-4)
            mean[part], variances[part] = (self.weights @ towards).double(), (left + self.kernel.noise).double()
        return mean, variances
