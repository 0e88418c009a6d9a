"""A Gaussian process that fills a scene, with how sure it is.

Small scenes are solved densely, with the visible pixels that tell most: half of them along the gaps. In large ones the
cost grows linearly in pixels: what reaches far goes through a few inducing pixels, what is left through the nearest
visible ones of each pixel (Vecchia's approximation). The sum is known as a full-scale approximation (Sang and Huang
2012, J. R. Stat. Soc. B 74, 111-132); with nearest neighbours for its second part, as Vecchia-inducing-points (Gyger,
Furrer and Sigrist 2025, arXiv 2507.05064).
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from miha.gapfill.features import Features
from miha.gapfill.fitting import Numbers, fit_to_scene
from miha.gapfill.guess import WHOLE, Window, drawn
from miha.gapfill.kernel import LEARNED, Kernel, Pixels, covariance, variance
from miha.gapfill.neighbours import along_gaps, earlier_neighbours
from miha.gapfill.predictors import Background
from miha.rasters.stack import Image
from miha.threads import fixed_threads

SMALL = 12_000  # visible pixels up to which a scene is solved densely
NEIGHBOURS = 20  # visible pixels
MOST_VISIBLE = 30_000  # pixels that are fitted, drawn at random where there are more
LEAST = 0.25  # that a deviation is multiplied by: a few pixels may be predicted well by chance
JITTER = 1e-3  # of the inducing pixels, so that their covariance can be inverted in float32
CHUNK = 2000  # pixels whose neighbours are looked at together
PART = 10_000  # pixels that are looked at together: memory does not grow with the gap


@dataclass(frozen=True)
class Size:
    """What a fit costs: about proportional to the square of ``dense``, and to ``inducing``.

    Attributes:
        dense: visible pixels of small scenes that are used.
        inducing: those of large scenes that all others are seen through.
    """

    dense: int = 3000
    inducing: int = 600


@dataclass(frozen=True)
class Posterior:
    """Maps (height, width) of one scene, in its unit: the expected values, and their standard deviation.

    Of the process itself visible pixels are as they are, with a deviation of 0.
    """

    mean: Image
    std: Image


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
    mean, std = scene[window].copy(), np.zeros_like(scene[window])
    if len(asked):
        known = features[torch.from_numpy(visible)]
        if background.is_empty:
            process = Process.alone(known, departure[visible], rng, size)
        else:
            process = Process.fit(known, departure[visible], kernel, size)
        expected, deviation = process.at(features[torch.from_numpy(asked)])
        mean[gap], std[gap] = background.level.flat[asked] + expected, deviation
    return Posterior(mean, std)


def pixels_to_fit(
    visible: NDArray[np.int64], shape: tuple[int, ...], size: Size, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Of flat indices of the visible pixels of a scene, in random order, those that the process is fitted to."""
    if len(visible) <= SMALL:
        return along_gaps(visible, shape, size.dense, rng)
    return rng.permutation(drawn(visible, MOST_VISIBLE, rng))


@dataclass(frozen=True)
class Process:
    """A Gaussian process, given the visible pixels of a scene.

    Attributes:
        calibration: what deviations are multiplied by: the root mean square of errors on visible pixels over the
            deviations that the kernel says, each pixel predicted from others. It is the cross-validation estimate of
            a variance (Bachoc 2013, Comput. Stat. Data Anal. 66, 55-69). 1 of a kernel that was fitted to the scene.
    """

    fitted: "_Dense | _FullScale"
    kernel: Kernel
    stretching: Tensor
    median: float
    deviation: float
    calibration: float

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
            fitted = _Dense(kernel, pixels, values) if dense else _FullScale(kernel, pixels, values, size.inducing)
            off = fitted.predicted()
            calibration = max(float((off**2).mean().sqrt()), LEAST) if len(off) else 1.0
            return cls(fitted, kernel, stretching, median, deviation, calibration)

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
        expected, variances = torch.empty(2, len(asked.positions), dtype=torch.float64)
        with torch.inference_mode(), fixed_threads(1):
            pixels = asked.stretched(self.stretching).weighed(self.kernel)
            for part in torch.arange(len(expected)).split(PART):
                expected[part], variances[part] = self.fitted.at(pixels[part])
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
    """The process, given visible pixels, with the covariance of all of them."""

    def __init__(self, kernel: Kernel, visible: Pixels, values: Tensor) -> None:
        self.kernel, self.visible = kernel, visible
        within = covariance(kernel, visible, visible)
        within.diagonal().add_(kernel.noise + JITTER)
        self.root = torch.linalg.cholesky(within)
        self.weights = torch.cholesky_solve(values.float()[:, None], self.root)[:, 0]

    def predicted(self) -> Tensor:
        """Errors of visible pixels, each predicted from all others, over the deviations that the kernel says (n).

        Dubrule 1983, Math. Geol. 15, 687-699.
        """
        inverse = torch.linalg.solve_triangular(self.root, torch.eye(len(self.root)), upper=False)
        return torch.div(self.weights, (inverse**2).sum(0).sqrt())

    def at(self, asked: Pixels) -> tuple[Tensor, Tensor]:
        """Mean and variance, noise included, of pixels that are not visible, in deviations of the scene."""
        towards = covariance(self.kernel, self.visible, asked)
        explained = (torch.linalg.solve_triangular(self.root, towards, upper=False) ** 2).sum(0)
        left = (variance(self.kernel, asked) - explained).clamp(min=1e-4)
        return (self.weights @ towards).double(), (left + self.kernel.noise).double()


class _FullScale:
    """The process, given the visible pixels of one scene in random order."""

    def __init__(self, kernel: Kernel, visible: Pixels, values: Tensor, inducing: int) -> None:
        self.kernel, self.visible = kernel, visible
        self.inducing = visible[slice(inducing)]
        induced = covariance(kernel, self.inducing, self.inducing).double()
        self.root = torch.linalg.cholesky(induced + JITTER * torch.eye(len(induced), dtype=torch.float64))
        self.projected = self._project(visible)
        positions = visible.positions.numpy()
        neighbours = torch.from_numpy(earlier_neighbours(positions, NEIGHBOURS))
        weights, left = self._condition(visible, self.projected, neighbours)
        left = left + kernel.noise
        known = neighbours.clamp(min=0)
        whitened = (self.projected - _combine(weights, self.projected, known)).double()
        weighed = whitened / left[:, None]
        precision = torch.eye(whitened.shape[1], dtype=torch.float64) + whitened.T @ weighed
        self.precision_root = torch.linalg.cholesky(precision)
        innovations = values - (weights.double() * values[known]).sum(1)
        self.coefficients = torch.cholesky_solve((weighed.T @ innovations)[:, None], self.precision_root)[:, 0]
        self.residuals = values - self.projected.double() @ self.coefficients
        off = self.residuals - (weights.double() * self.residuals[known]).sum(1)
        self.off = (off / left.double().sqrt())[inducing:]
        self.tree = scipy.spatial.cKDTree(positions)

    def predicted(self) -> Tensor:
        """Errors of visible pixels, each predicted from those before it, over the deviations that the kernel says (n).

        Those that induce are left out.
        """
        return self.off

    def at(self, asked: Pixels) -> tuple[Tensor, Tensor]:
        """Mean and variance, noise included, of pixels that are not visible, in deviations of the scene."""
        count = min(NEIGHBOURS, len(self.visible.positions))
        neighbours = torch.from_numpy(self.tree.query(asked.positions.numpy(), count)[1].reshape(-1, count))
        projected = self._project(asked)
        weights, left = self._condition(asked, projected, neighbours)
        mean = projected.double() @ self.coefficients + (weights.double() * self.residuals[neighbours]).sum(1)
        rest = (projected - _combine(weights, self.projected, neighbours)).double()
        induced = (torch.linalg.solve_triangular(self.precision_root, rest.T, upper=False) ** 2).sum(0)
        return mean, left.double() + induced + self.kernel.noise

    def _project(self, pixels: Pixels) -> Tensor:
        """Pixels (n) as seen through the inducing ones, (n, INDUCING): products are their covariance."""
        parts = []
        for part in torch.arange(len(pixels.positions)).split(PART):
            crossed = covariance(self.kernel, self.inducing, pixels[part]).double()
            parts.append(torch.linalg.solve_triangular(self.root, crossed, upper=False).T.float())
        return torch.cat(parts)

    def _condition(self, pixels: Pixels, projected: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
        """How what the inducing pixels leave of a pixel follows from its visible neighbours.

        Args:
            pixels: n of them.
            projected: (n, INDUCING).
            neighbours: (n, k) numbers of visible pixels; -1: none.

        Returns:
            Weights of the neighbours (n, k), and the variance (n) that they leave.
        """
        weights = torch.zeros(neighbours.shape)
        left = variance(self.kernel, pixels) - (projected**2).sum(1)
        for chunk in torch.arange(len(neighbours)).split(CHUNK):
            there = neighbours[chunk] >= 0
            near = neighbours[chunk].clamp(min=0)
            others, through = self.visible[near], self.projected[near]
            between = covariance(self.kernel, others, others) - through @ through.mT
            both = there[:, :, None] & there[:, None, :]
            noise = torch.where(there, self.kernel.noise + JITTER, 1.0)
            root = torch.linalg.cholesky(between * both + torch.diag_embed(noise))
            towards = covariance(self.kernel, pixels[chunk].single(), others) - projected[chunk][:, None] @ through.mT
            towards = towards[:, 0] * there
            weights[chunk] = torch.cholesky_solve(towards[..., None], root)[..., 0]
            left[chunk] -= (weights[chunk] * towards).sum(1)
        return weights, left.clamp(min=1e-4)


def _combine(weights: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
    """Sums (n, m) of rows (…, m), those ``chosen`` (n, k) with their weights (n, k)."""
    parts = torch.arange(len(weights)).split(CHUNK)
    return torch.cat([(weights[part][:, None] @ rows[chosen[part]])[:, 0] for part in parts])
