"""The regressions of a first guess: ridge, and extremely randomized trees that correct a trend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.predictors import Background, Static
from miha.rasters.stack import Image
from miha.threads import library_threads

RIDGE_PENALTIES = np.logspace(-2, 6, 17)  # to choose from by leave-one-out error
AXES = 12  # along which trees see the position of a pixel
TRENDS = 3  # that trees refine: ridge, climatology, and none
FOLDS = 4  # of the visible pixels; a tree is fitted to all but one of them


@dataclass(frozen=True)
class GuessSettings:
    """How the first guess is made.

    Attributes:
        trees: number of extremely randomized trees, a multiple of TRENDS · FOLDS, shared out evenly.
        leaf: smallest number of pixels in a leaf.
        features: share of the predictors among which a split chooses.
        fit_pixels: at most so many visible pixels are fitted, drawn at random, so that cost grows linearly in pixels.
    """

    trees: int = 48
    leaf: int = 5
    features: float = 0.5
    fit_pixels: int = 20_000


def tree_features(
    days: NDArray[np.float32], level: Image, static: Static, places: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Predictors of every pixel, (pixels, features): the other days, their level, static layers, and positions.

    ``places`` are row and column (2, height, width) of each pixel, by default of a whole scene.

    Positions are along axes turned by equal angles (oblique geographic coordinates, Møller et al. 2020, SOIL 6, 269):
    a tree that splits rows and columns alone sees boxes, while weather fronts and coasts run anyhow.
    """
    rows, columns = np.indices(level.shape, np.float32) if places is None else places
    turns = np.arange(AXES)[:, None, None] * np.float32(np.pi / AXES)
    positions = np.cos(turns) * columns + np.sin(turns) * rows
    layers = np.concatenate([days, level[None], static.continuous, static.classes, positions.astype(np.float32)])
    return np.ascontiguousarray(layers.reshape(len(layers), -1).T)


def linear_features(background: Background, static: Static) -> NDArray[np.float32]:
    """Predictors for a linear model, (pixels, features): days, level, continuous and one-hot layers."""
    layers = np.concatenate([background.filled, background.level[None], static.continuous, static.one_hot])
    return np.asarray(layers.reshape(len(layers), -1).T)


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on features that are standardised over a scene."""

    model: Any
    means: NDArray[np.float32]
    deviations: NDArray[np.float32]

    @classmethod
    def fit(cls, sample: NDArray[np.float32], known: NDArray[np.float32], values: NDArray[np.float32]) -> "Ridge":
        """Fit to ``values`` of pixels with features ``known``; ``sample`` are features that stand for the scene's."""
        from sklearn.linear_model import RidgeCV  # costs a second, and only some processes guess

        ridge = cls(RidgeCV(RIDGE_PENALTIES), sample.mean(axis=0), sample.std(axis=0) + np.float32(1e-6))
        with library_threads(1):  # more threads give other last bits
            ridge.model.fit(ridge._standardised(known), values)
        return ridge

    def at(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (pixels,) for features (pixels, features)."""
        with library_threads(1):
            return np.asarray(self.model.predict(self._standardised(features)), np.float32)

    def _standardised(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((features - self.means) / self.deviations, np.float32)


@dataclass(frozen=True)
class Forests:
    """What corrects one trend: a forest for each fold of the fitted pixels, fitted to all others."""

    folds: Sequence[Any]

    @classmethod
    def fit(
        cls,
        residuals: NDArray[np.float32],
        features: NDArray[np.float32],
        fold: NDArray[np.int64],
        settings: GuessSettings,
        rng: np.random.Generator,
    ) -> "Forests":
        """Fit to what the trend leaves of pixels (n,), with features (n, features) and their folds (n,)."""
        from sklearn.ensemble import ExtraTreesRegressor

        forests = []
        for held in range(FOLDS):
            seen = fold != held
            seed, number = int(rng.integers(2**31)), settings.trees // (TRENDS * FOLDS)
            forest = ExtraTreesRegressor(
                number, min_samples_leaf=settings.leaf, max_features=settings.features, n_jobs=1, random_state=seed
            )
            forests.append(forest.fit(features[seen], residuals[seen]))
        return cls(forests)

    def at(
        self, trend: NDArray[np.float32], features: NDArray[np.float32], own: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Correct a trend (n,) at pixels with features (n, features), ``own`` being their folds, -1: not fitted.

        Returns:
            The trend as corrected by the forest that did not see the pixel, or by the mean of all where none did (n,);
            as corrected by each (FOLDS, n); and the variance of each forest's trees, the same.
        """
        means, variances = np.empty((2, FOLDS, len(trend)), np.float32)
        for held, forest in enumerate(self.folds):
            votes = np.stack([tree.predict(features, check_input=False) for tree in forest.estimators_])
            means[held] = trend + votes.mean(axis=0)
            variances[held] = votes.var(axis=0)
        unseen = np.take_along_axis(means, np.maximum(own, 0)[None], axis=0)[0]
        return np.where(own < 0, means.mean(axis=0), unseen), means, variances
