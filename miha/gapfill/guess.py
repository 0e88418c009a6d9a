"""A first guess of what a gap hides: maps that cover the whole scene, which a network then refines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray

from miha.gapfill.predictors import Background, Static
from miha.gapfill.regressions import FOLDS, Forests, GuessSettings, Ridge, linear_features, tree_features
from miha.gapfill.surroundings import Surroundings
from miha.rasters.stack import Image
from miha.threads import library_threads

FADE = 0.01  # share of known pixels at which a spread residual has faded to half
SPREAD_SCALES = (1.0, 3.0, 9.0, 27.0)  # pixels

Window = tuple[slice, slice]  # rows and columns
WHOLE: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Guess:
    """Maps (height, width) for one scene or a window of it, in its unit; all but ``error`` cover it fully.

    Attributes:
        value: the best guess: the median of ``refined`` and what is near of its error. Where little is visible ridge
            can be carried far off, while trees alone never leave the range of what they saw; the median leaves out
            whichever strays.
        error: what the median leaves of the visible pixels; NaN in the gaps.
        residuals: (scales, height, width), that error spread into the gaps at each of SPREAD_SCALES.
        climatology: the level of each pixel over the other days, plus this scene's mean offset from it.
        ridge: ridge regression of the scene on the other days, terrain and land cover.
        refined: (TRENDS, height, width): ridge, climatology, and nothing, each plus trees fitted to what it leaves.
            Where the scene is visible, only trees that did not see the pixel vote, so that an error means the same
            there as inside the gaps.
        spread: standard deviation between all trees, each with what it refines.
    """

    value: Image
    error: Image
    residuals: NDArray[np.float32]
    climatology: Image
    ridge: Image
    refined: NDArray[np.float32]
    spread: Image


def visible_pixels(scene: Image, at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Flat indices of the visible pixels, or of ``at_most`` of them drawn at random."""
    return drawn(np.flatnonzero(~np.isnan(scene)), at_most, rng)


def drawn(pixels: NDArray[np.int64], at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Sorted pixels, or ``at_most`` of them drawn at random."""
    return pixels if len(pixels) <= at_most else np.sort(rng.choice(pixels, at_most, replace=False))


def fit_climatology(scene: Image, background: Background) -> Image:
    """The level of each pixel over the other days, plus the scene's mean offset from it."""
    return np.asarray(background.level + np.float32(np.nanmean(scene - background.level)))


def fit_ridge(scene: Image, background: Background, static: Static, fitted: NDArray[np.int64]) -> Image:
    """Ridge regression of the scene's pixels ``fitted`` on the other days and static layers, for every pixel."""
    features = linear_features(background, static)
    return Ridge.fit(features, features[fitted], scene.ravel()[fitted]).at(features).reshape(scene.shape)


@dataclass(frozen=True)
class Corrected:
    """What a fitted guess says of n pixels, as the maps of a :class:`Guess`; ``spread`` too."""

    refined: NDArray[np.float32]
    climatology: NDArray[np.float32]
    ridge: NDArray[np.float32]
    spread: NDArray[np.float32]


@dataclass(frozen=True)
class FirstGuess:
    """Trends and trees, fitted to visible pixels of a scene."""

    ridge: Ridge
    offset: np.float32
    forests: Sequence[Forests]
    fitted: NDArray[np.int64]  # sorted
    fold: NDArray[np.int64]

    @classmethod
    def fit(
        cls,
        values: NDArray[np.float32],
        fitted: NDArray[np.int64],
        known: Surroundings,
        sample: Surroundings,
        settings: GuessSettings,
        rng: np.random.Generator,
    ) -> "FirstGuess":
        """Fit to visible pixels.

        Args:
            values: (n,), what they show.
            fitted: (n,), their flat indices, sorted.
            known: what predicts them.
            sample: the same of pixels that stand for the whole scene.
            settings: size of the forests.
            rng: draws folds and trees.
        """
        ridge = Ridge.fit(
            linear_features(sample.background, sample.static), linear_features(known.background, known.static), values
        )
        offset = np.float32(np.mean(values - known.background.level.ravel()))
        unfitted = cls(ridge, offset, (), fitted, np.empty(0, np.int64))
        forests = []
        with library_threads(1):
            for trend, features in unfitted._trends(known):
                fold = rng.permutation(len(fitted)) % FOLDS
                forests.append((Forests.fit(values - trend, features, fold, settings, rng), fold))
        return cls(ridge, offset, [one for one, _ in forests], fitted, np.stack([fold for _, fold in forests]))

    def at(self, pixels: NDArray[np.int64], around: Surroundings) -> Corrected:
        """The guess of pixels with flat indices ``pixels`` (n,), with what predicts them."""
        place = np.minimum(np.searchsorted(self.fitted, pixels), len(self.fitted) - 1)
        own = np.where(self.fitted[place] == pixels, self.fold[:, place], -1)
        with library_threads(1):
            trends = self._trends(around)
            corrected = [one.at(*trend, at) for one, trend, at in zip(self.forests, trends, own, strict=True)]
        refined, means, variances = (np.stack(maps) for maps in zip(*corrected, strict=True))
        # by the law of total variance, as all forests have as many trees: so the votes need not be kept
        spread = np.sqrt(variances.mean(axis=(0, 1)) + means.var(axis=(0, 1)))
        return Corrected(refined, trends[1][0], trends[0][0], spread)

    def _trends(self, around: Surroundings) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Each trend (n,), and the features (n, features) of the trees that correct it."""
        background, static, places = around.background, around.static, around.places
        ridge = self.ridge.at(linear_features(background, static))
        anomalies = tree_features(np.nan_to_num(background.anomalies), background.level, static, places)
        days = tree_features(background.filled, background.level, static, places)
        climatology = background.level.ravel() + self.offset
        return [(ridge, anomalies), (climatology, anomalies), (np.zeros_like(ridge), days)]


def guess_scene(
    scene: Image,
    background: Background,
    static: Static,
    settings: GuessSettings,
    rng: np.random.Generator,
    window: Window = WHOLE,
) -> Guess:
    """Guess a scene from its visible part and the other days.

    Args:
        scene: (height, width), NaN in the gaps; at least two visible pixels.
        background: the other days; the caller leaves out the scene's own.
        static: layers that do not change.
        settings: size of the forest.
        rng: draws the trees and, in large scenes, the fitted pixels.
        window: rows and columns for which maps are wanted; all visible pixels are fitted in any case.
    """
    pixels = np.arange(scene.size).reshape(scene.shape)[window]
    fitted = visible_pixels(scene, settings.fit_pixels, rng)
    around = Surroundings.of(background, static)
    guess = FirstGuess.fit(scene.flat[fitted], fitted, around.pick(fitted), around, settings, rng)
    asked = np.union1d(pixels, fitted)  # errors beside the window reach into it
    found = guess.at(asked, around.pick(asked))
    median = np.median(found.refined, axis=0)
    error = np.full_like(scene, np.nan)
    error.flat[asked] = scene.flat[asked] - median
    residuals = spread_residuals(error, SPREAD_SCALES)[:, *window]
    inside = np.searchsorted(asked, pixels)
    return Guess(
        value=median[inside] + residuals[0],
        error=error[window],
        residuals=residuals,
        climatology=found.climatology[inside],
        ridge=found.ridge[inside],
        refined=found.refined[:, inside],
        spread=found.spread[inside],
    )


def spread_residuals(residual: Image, scales: Sequence[float]) -> NDArray[np.float32]:
    """Spread residuals into the gaps: a Gaussian mean of what is near, for each scale.

    Normalised convolution (Knutsson and Westin 1993): far from all that is known the mean fades to 0.

    Args:
        residual: (height, width), NaN where it is not known.
        scales: standard deviations of the Gaussians, pixels.

    Returns:
        (scales, height, width), in the unit of the residuals.
    """
    known, weight = np.nan_to_num(residual), (~np.isnan(residual)).astype(np.float32)
    blurred = [
        scipy.ndimage.gaussian_filter(known, s, mode="nearest")
        / (scipy.ndimage.gaussian_filter(weight, s, mode="nearest") + FADE)
        for s in scales
    ]
    return np.stack(blurred).astype(np.float32)
