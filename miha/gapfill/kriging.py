"""A scene that neither another day nor a static layer tells about: kriging with all that it shows.

On the grid of its pixels the covariance of a field is a convolution, so its product with a map takes two Fourier
transforms. The equations of kriging, one for each visible pixel, are then solved by conjugate gradients (Fritz,
Neuweiler and Nowak 2009, Math. Geosci. 41, 509-533). Only the standard deviation is approximated: it comes of the
nearest visible pixels, calibrated by visible ones that are predicted from others as far away as a gap's are.
"""

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from miha.gapfill.fitting import Numbers, fit_to_scene
from miha.gapfill.guess import Window
from miha.gapfill.intervals import intervals_of
from miha.gapfill.process import LEAST, Posterior, centre_and_spread
from miha.gapfill.view import windows_of
from miha.rasters.stack import Image
from miha.rasters.window import grown_window
from miha.threads import fixed_threads

START = {"near": 0.3, "near_length": 8.0, "far": 0.7, "far_length": 60.0, "trend": 0.1, "noise": 0.01}
FITTED = 30_000  # visible pixels that the field is fitted to, drawn at random where there are more
NEIGHBOURS = 30  # visible pixels that tell how sure a pixel is
PART = 4000  # pixels whose neighbours are looked at together
CHECKED, MOST_HIDDEN = 2000, 2000  # visible pixels that are predicted from others; of these, hidden for one at most
TILE, MARGIN = 1024, 256  # pixels a side that are solved for together, and seen around them: memory does not grow
CLOSE = 2e-3  # what the solution may leave of the values, as a share of their length
MOST_STEPS = 600  # of conjugate gradients

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Field:
    """A field of unit spread, the more alike the nearer, with a plane as its trend.

    Attributes:
        numbers: variances of what is ``near`` and ``far``, of the slopes of the ``trend``, of ``noise``; and lengths
            of the first two, pixels. Both are exponential, so what is seen beside a gap screens what lies behind it.
        stretching: (2, 2), what rows and columns are multiplied by: a field may reach further along one axis.
        scale: pixels in which the trend counts rows and columns.
    """

    numbers: Numbers
    stretching: Tensor
    scale: float

    @classmethod
    def fit(cls, places: NDArray[np.int64], values: Map, scale: float, rng: np.random.Generator) -> "Field":
        """Fit to values (n,) at ``places`` (n, 2), rows and columns."""
        order = rng.permutation(len(values))[:FITTED]
        known = places[order].astype(np.float32)
        scaled = torch.from_numpy(known)

        def covariance(numbers: Numbers, by: Tensor, sets: Tensor) -> Tensor:
            return cls(numbers, by, scale).between(scaled[sets])

        numbers, by = fit_to_scene(START, covariance, known, torch.from_numpy(values[order]), rng)
        return cls({name: torch.tensor(value) for name, value in numbers.items()}, by, scale)

    def stationary(self, offsets: Tensor) -> Tensor:
        """Covariance (…) of what lies ``offsets`` (…, 2) rows and columns apart, without trend and noise."""
        n = self.numbers
        distance = ((offsets @ self.stretching.to(offsets.dtype)) ** 2).sum(-1).clamp(min=1e-12).sqrt()
        return n["near"] * torch.exp(-distance / n["near_length"]) + n["far"] * torch.exp(-distance / n["far_length"])

    def between(self, places: Tensor) -> Tensor:
        """Covariance (…, n, n) of pixels at ``places`` (…, n, 2), noise included."""
        slopes = (places / self.scale) @ (places / self.scale).mT
        noise = self.numbers["noise"] * torch.eye(places.shape[-2], dtype=places.dtype)
        field = self.stationary(places[..., :, None, :] - places[..., None, :, :])
        return field + self.numbers["trend"] * slopes + noise


def fill_by_kriging(scene: Image, rng: np.random.Generator) -> Posterior:
    """Fill a scene (height, width; NaN in the gaps; at least one visible pixel) from its visible part.

    Args:
        scene: of any unit.
        rng: draws the pixels that the field is fitted to.
    """
    visible = ~np.isnan(scene)
    mean, std = scene.copy(), np.zeros_like(scene)
    if visible.all():
        return Posterior(mean, std)
    median, deviation = centre_and_spread(scene[visible])
    values = np.where(visible, (scene - median) / deviation, 0).astype(np.float64)
    places = np.moveaxis(np.indices(scene.shape), 0, -1) - np.asarray(scene.shape) // 2
    with fixed_threads(1):
        field = Field.fit(places[visible], values[visible], max(scene.shape) / 2, rng)
        with torch.inference_mode():
            for tile in windows_of((slice(0, scene.shape[0]), slice(0, scene.shape[1])), TILE):
                hidden = ~visible[tile]
                if hidden.any():
                    outer, inner = _seen_around(tile, visible)
                    expected = krige(values[outer], visible[outer], places[outer], field)[inner]
                    mean[tile][hidden] = median + deviation * expected[hidden]
            nearest = _Nearest(places[visible], values[visible], field)
            errors = nearest.errors(scipy.ndimage.distance_transform_edt(~visible)[~visible], rng)
            calibration = max(float(np.sqrt((errors**2).mean())), LEAST) if len(errors) else 1.0
            std[~visible] = calibration * deviation * np.sqrt(nearest.at(places[~visible])[1])
    return Posterior(mean, std, intervals=intervals_of(errors))


def _seen_around(tile: Window, visible: Mask) -> tuple[Window, Window]:
    """A tile grown so far that something in it is visible, and where in it the tile lies."""
    margin = MARGIN
    while not visible[(grown := grown_window(tile, margin, visible.shape))[0]].any():
        margin *= 2
    return grown


def krige(values: Map, visible: Mask, places: NDArray[np.int64], field: Field) -> Map:
    """Expected values (height, width) of a field, given those where it is visible.

    Args:
        values: (height, width), 0 where not visible.
        visible: (height, width).
        places: (height, width, 2), row and column of each pixel.
        field: its numbers.
    """
    covariance, noise, seen = _Covariance(field, places), float(field.numbers["noise"]), int(visible.sum())

    def on_grid(weights: Map) -> Map:
        image = np.zeros(visible.shape)
        image[visible] = weights
        return image

    def product(weights: Map) -> Map:
        return np.asarray((covariance @ on_grid(weights))[visible] + noise * weights)

    def roughly_solved(left: Map) -> Map:  # as if all of the scene were seen: far fewer steps are then enough
        return covariance.inverse(on_grid(left), noise)[visible]

    equations, rough = (LinearOperator((seen, seen), each, dtype=np.float64) for each in (product, roughly_solved))
    return covariance @ on_grid(cg(equations, values[visible], rtol=CLOSE, maxiter=MOST_STEPS, M=rough)[0])


class _Covariance:
    """Of all pixels of a grid with each other: a matrix that multiplies maps and is never written out."""

    def __init__(self, field: Field, places: NDArray[np.int64]) -> None:
        self.size = places.shape[:2]
        self.padded = [scipy.fft.next_fast_len(2 * side, real=True) for side in self.size]  # edges do not meet
        offsets = np.stack(np.meshgrid(*(scipy.fft.fftfreq(n, 1 / n) for n in self.padded), indexing="ij"), axis=-1)
        stationary = field.stationary(torch.from_numpy(offsets)).numpy()
        self.spectrum = scipy.fft.rfft2(stationary).real
        self.slopes = np.moveaxis(places, -1, 0) * (float(field.numbers["trend"]) ** 0.5 / field.scale)

    def __matmul__(self, weights: Map) -> Map:
        trend = np.tensordot(np.tensordot(self.slopes, weights, 2), self.slopes, 1)
        return self._filtered(weights, self.spectrum) + trend

    def inverse(self, image: Map, noise: float) -> Map:
        """Roughly: of the stationary part and the noise, on the padded grid."""
        return self._filtered(image, 1 / (self.spectrum.clip(min=0) + noise))

    def _filtered(self, image: Map, spectrum: Map) -> Map:
        rows, columns = self.size
        filtered = scipy.fft.irfft2(scipy.fft.rfft2(image, self.padded) * spectrum, self.padded)
        return np.asarray(filtered[:rows, :columns])


class _Nearest:
    """What the nearest visible pixels tell of others.

    Args:
        known: (m, 2), their places.
        values: (m,), what they show.
        field: its numbers.
    """

    def __init__(self, known: NDArray[np.int64], values: Map, field: Field) -> None:
        self.known, self.values, self.field = known, values, field
        self.stretch = field.stretching.double().numpy()
        self.tree = scipy.spatial.cKDTree(known @ self.stretch)

    def at(self, asked: NDArray[np.int64], skipped: NDArray[np.int64] | None = None) -> tuple[Map, Map]:
        """Expected values (n,) and their variances, noise included.

        Args:
            asked: (n, 2), places.
            skipped: (n,), how many of the pixels nearest to each place are taken for hidden; None: none.
        """
        skipped = np.zeros(len(asked), int) if skipped is None else skipped
        means, variances = np.empty((2, len(asked)))
        for part in np.array_split(np.arange(len(asked)), -(-len(asked) // PART)):
            ranks = skipped[part, None] + np.arange(min(NEIGHBOURS, len(self.known)))
            order = self.tree.query(asked[part] @ self.stretch, int(ranks.max()) + 1)[1].reshape(len(part), -1)
            nearest = np.take_along_axis(order, ranks, axis=1)
            places = np.concatenate([asked[part, None], self.known[nearest]], axis=1)
            within = self.field.between(torch.from_numpy(places).double())
            sides = torch.cat([within[:, 1:, :1], torch.from_numpy(self.values[nearest])[..., None]], dim=-1)
            towards, seen = torch.linalg.solve_triangular(
                torch.linalg.cholesky(within[:, 1:, 1:]), sides, upper=False
            ).unbind(-1)
            means[part] = (towards * seen).sum(1).numpy()
            variances[part] = (within[:, 0, 0] - (towards**2).sum(1)).clamp(min=1e-9).numpy()
        return means, variances

    def errors(self, away: Map, rng: np.random.Generator) -> Map:
        """Errors over deviations of CHECKED visible pixels, each predicted from others as far away as a gap's are.

        Args:
            away: how far pixels of the gaps lie from the nearest visible one, pixels: those near one are told well.
            rng: draws visible pixels, and such a distance for each.

        Returns:
            none where too few are visible.
        """
        if len(self.known) < CHECKED:
            return np.empty(0)
        some = rng.permutation(len(self.known))[:CHECKED]
        hidden = np.minimum(np.pi * rng.choice(away, len(some)) ** 2, MOST_HIDDEN).astype(int)
        expected, variances = self.at(self.known[some], hidden.clip(1, len(self.known) - NEIGHBOURS))
        return np.asarray((self.values[some] - expected) / np.sqrt(variances))
