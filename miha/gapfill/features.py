"""What a Gaussian process knows of the pixels of a scene: layers, and features that are scaled over the whole scene."""

from dataclasses import dataclass, fields, replace

import numpy as np
import scipy  # loads its ndimage on first use
import torch
from numpy.typing import NDArray
from torch import Tensor

from miha.gapfill.kernel import Kernel, Pixels
from miha.gapfill.predictors import Background, Static
from miha.rasters.stack import Image

SCORES = 10  # principal components of the days that tell how alike two pixels behave
SMOOTHING = 1.5  # pixels
REACH = 6  # pixels from which smoothed layers take something
RIDGE = 0.1  # penalty of an imputed day, in mean variances of the others


@dataclass(frozen=True)
class Imputation:
    """How gaps of each of n days are filled by ridge on all others, fitted to pixels of a scene.

    Attributes:
        slopes: (n, n), those of a day in its row, 0 on itself.
        intercepts: (n,).
    """

    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    @classmethod
    def fit(cls, anomalies: NDArray[np.float32]) -> "Imputation":
        """Fit to anomalies (days, …), NaN in the gaps."""
        known = np.nan_to_num(anomalies).reshape(len(anomalies), anomalies[:1].size or 1).astype(np.float64)
        seen = ~np.isnan(anomalies).reshape(known.shape)
        slopes, intercepts = np.zeros((len(known), len(known))), np.zeros(len(known))
        for day, visible in enumerate(seen):
            others = np.arange(len(known)) != day
            if not visible.any() or not others.any():
                continue
            theirs, ours = known[others][:, visible], known[day, visible]
            means, mean = theirs.mean(axis=1, keepdims=True), ours.mean()
            centred = theirs - means
            products = centred @ centred.T
            penalty = RIDGE * np.trace(products) / len(centred) + 1e-6
            found = np.linalg.solve(products + penalty * np.eye(len(centred)), centred @ (ours - mean))
            slopes[day, others], intercepts[day] = found, mean - found @ means[:, 0]
        return cls(slopes, intercepts)

    def fill(self, anomalies: NDArray[np.float32]) -> NDArray[np.float32]:
        """Anomalies (days, height, width) of any pixels without gaps."""
        known = np.nan_to_num(anomalies).reshape(len(anomalies), anomalies[:1].size or 1).astype(np.float64)
        imputed = (self.slopes @ known + self.intercepts[:, None]).reshape(anomalies.shape)
        return np.where(np.isnan(anomalies), imputed, anomalies).astype(np.float32)


@dataclass(frozen=True)
class Layers:
    """What is known of pixels, each (n, pixels), in any unit: days without gaps, smoothed, level, static layers."""

    days: NDArray[np.float32]
    smooth: NDArray[np.float32]
    levels: NDArray[np.float32]
    continuous: NDArray[np.float32]
    one_hot: NDArray[np.float32]
    places: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        background: Background,
        static: Static,
        imputation: Imputation,
        places: NDArray[np.float32] | None = None,
    ) -> "Layers":
        """Of all pixels of a scene, or of a tile of it.

        Where there is no other day, the place of a pixel stands for its level: it is regressed on rows and columns.

        Args:
            background: the other days.
            static: layers that do not change.
            imputation: fitted to the days.
            places: (2, height, width), row and column of each pixel; by default it is the whole scene.
        """
        places = np.indices(background.level.shape, np.float32) if places is None else places
        days = imputation.fill(background.anomalies)
        smooth = np.stack([_smoothed(day) for day in days]) if len(days) else days
        level = background.level
        levels = places if background.is_empty else np.stack([level, _smoothed(level)])
        parts = days, smooth, levels, static.continuous, static.one_hot, places
        return cls(*(part.reshape(len(part), level.size) for part in parts))

    def __getitem__(self, chosen: NDArray[np.int64]) -> "Layers":
        """Those of some pixels, by their numbers."""
        return Layers(**{part.name: getattr(self, part.name)[:, chosen] for part in fields(self)})

    @classmethod
    def joined(cls, parts: "list[Layers]") -> "Layers":
        """Those of several sets of pixels, one after the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts], axis=1) for f in fields(cls)})


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
        """Of all pixels of a scene, scaled by all of them: other days (gaps imputed by ridge), level, static layers."""
        layers = Layers.of(background, static, Imputation.fit(background.anomalies))
        return FeatureSpace.fit(layers, background.weights).of(layers)

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


@dataclass(frozen=True)
class _Scaling:
    """Layers (n, pixels) → zero mean and unit spread over the pixels that it was fitted to."""

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]

    @classmethod
    def fit(cls, layers: NDArray[np.float32]) -> "_Scaling":
        flat = layers.astype(np.float64)
        return cls(flat.mean(axis=1, keepdims=True), flat.std(axis=1, keepdims=True) + 1e-6)

    def __call__(self, layers: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray((layers.astype(np.float64) - self.means) / self.deviations)


@dataclass(frozen=True)
class FeatureSpace:
    """How layers of any pixels become features: scaled as over the whole scene, with principal components of the days.

    Attributes:
        scalings: by name of the layers.
        projection: (SCORES, days), the components; the first of unit variance over the pixels.
        spreads: (days, 1), of what is regressed on a day: the root of its weight.
    """

    scalings: dict[str, _Scaling]
    projection: NDArray[np.float64]
    spreads: NDArray[np.float64]

    @classmethod
    def fit(cls, sample: Layers, weights: NDArray[np.float32]) -> "FeatureSpace":
        """Fit to layers of pixels that stand for all of a scene, with weights (days,) of mean 1."""
        names = ("days", "smooth", "levels", "continuous", "one_hot")
        scalings = {name: _Scaling.fit(getattr(sample, name)) for name in names}
        days = scalings["days"](sample.days)
        if not len(days):
            return cls(scalings, np.empty((0, 0)), np.empty((0, 1)))
        axes, sizes, _ = np.linalg.svd(days, full_matrices=False)
        projection = axes[:, :SCORES].T * (days.shape[1] ** 0.5 / max(sizes[0], 1e-6))
        return cls(scalings, projection, np.sqrt(weights.astype(np.float64))[:, None])

    def of(self, layers: Layers) -> Features:
        """Features of pixels."""
        days, smooth, levels, continuous, one_hot = (
            scaled(getattr(layers, name)) for name, scaled in self.scalings.items()
        )
        scores = self.projection @ days if len(days) else days
        return Features(
            days=_by_pixel(days * self.spreads),
            smooth=_by_pixel(smooth * self.spreads),
            level=_by_pixel(np.concatenate([levels, continuous, one_hot])),
            kinds=_by_pixel(np.concatenate([scores, levels, continuous, layers.one_hot])),
            positions=_by_pixel(layers.places),
        )


def _smoothed(image: Image) -> Image:
    return np.asarray(scipy.ndimage.gaussian_filter(image, SMOOTHING, mode="nearest"))


def _by_pixel(layers: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(layers.T, np.float32))
