"""The base: what fills a scene without any training, in a few seconds for 10,000 pixels, and how sure that is."""

from dataclasses import replace

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray

from miha.evolution.seeds import stream
from miha.gapfill.features import REACH, Features, FeatureSpace, Imputation
from miha.gapfill.guess import SPREAD_SCALES, WHOLE, FirstGuess, Window, drawn, guess_scene, spread_residuals
from miha.gapfill.kriging import fill_by_kriging
from miha.gapfill.predictors import Background, Static
from miha.gapfill.process import Posterior, Process, Size, fill_by_process, pixels_to_fit
from miha.gapfill.regressions import GuessSettings
from miha.gapfill.view import Tile, View, layers_of, tiles_of
from miha.rasters.stack import Image
from miha.threads import fixed_threads

PROCESS = 99  # its place among the streams of a fill; opinions have the first
RIM = 4  # pixels beside a gap whose errors reach into it


def blend(process: Image, guess: Image, calibration: float) -> Image:
    """Weighted mean of what the Gaussian process and the first guess say of the same pixels.

    The process weighs ``1 / calibration``, at most 1: the further its errors on visible pixels are beyond what its
    kernel says, the more the trees are asked, which learned from this scene alone. ``python -m bench.blend`` compares
    that with other weights.

    Args:
        process: mean of the process.
        guess: of the same shape.
        calibration: of the process.
    """
    weight = 1 / max(calibration, 1.0)
    return np.asarray(weight * process + (1 - weight) * guess, np.float32)


@fixed_threads(1)
def process_of(
    scene: Image,
    background: Background,
    static: Static,
    rng: np.random.Generator,
    size: Size = Size(),
    window: Window = WHOLE,
) -> Posterior:
    """What the Gaussian process makes of a scene (NaN in the gaps)."""
    return fill_by_process(scene, background, Features.of(background, static), rng, size=size, window=window)


@fixed_threads(1)
def fill_base(scene: Image, background: Background, static: Static, seed: int) -> Posterior:
    """Fill a scene (height, width; NaN in the gaps) from its visible part, the other days and static layers.

    Args:
        scene: with at least ``days.MIN_VISIBLE`` visible pixels.
        background: the other days, without the scene's own; there may be none.
        static: layers that do not change.
        seed: draws trees and pixels.
    """
    if background.is_empty and not static.layers:
        return fill_by_kriging(scene, stream(seed, "fill", PROCESS))
    process = process_of(scene, background, static, stream(seed, "fill", PROCESS))
    if background.is_empty:
        return process  # trees have nothing to learn from but positions, which the process knows better
    guess = guess_scene(scene, background, static, GuessSettings(), stream(seed, "fill", 0))
    return replace(process, mean=blend(process.mean, guess.value, process.calibration))


class Base:
    """The base of a scene that has other days, fitted to some of its pixels, and then asked window by window.

    It is what :func:`fill_base` gives, in the gaps, and within 0.0001 the same whatever the windows: what is of the
    whole scene comes of pixels that stand for it, and windows reach as far as what is smoothed.

    Args:
        view: the scene, with other days.
        seed: draws trees and pixels.
        settings: size of the forests.
        guesses: how many first guesses are fitted, of other trees and pixels each; the base is of the first.

    Attributes:
        sample: what is known of the pixels that stand for the scene.
    """

    def __init__(self, view: View, seed: int, settings: GuessSettings = GuessSettings(), guesses: int = 1) -> None:
        process_rng, *rngs = (stream(seed, "fill", part) for part in (PROCESS, *range(guesses)))
        self.view, self.imputation = view, Imputation.fit(view.sampled)
        teaching = pixels_to_fit(view.visible, view.shape, Size(), process_rng)
        fitted = [drawn(view.visible, settings.fit_pixels, rng) for rng in rngs]
        known = view.gather(np.unique(np.concatenate([teaching, view.sample, *fitted])), self.imputation)
        self.sample, seen = known.only(view.sample), known.only(teaching)
        self.space = FeatureSpace.fit(self.sample.layers, self.sample.around.background.weights)
        departures = seen.scene - seen.around.background.level[0]
        self.process = Process.fit(self.space.of(seen.layers), departures)
        self.guesses = []
        for pixels, rng in zip(fitted, rngs, strict=True):
            some = known.only(pixels)
            guess = FirstGuess.fit(some.scene, pixels, some.around, self.sample.around, settings, rng)
            self.guesses.append(guess)

    def fill(self, where: Window) -> Posterior:
        """Mean and deviation of a window, right in its gaps alone; elsewhere the scene, and 0."""
        parts = [(tile, self._fill(tile)) for tile in tiles_of(where, self.view.days)]
        mean, std = np.empty((2, where[0].stop - where[0].start, where[1].stop - where[1].start), np.float32)
        for tile, filled in parts:
            there = tuple(
                slice(part.start - around.start, part.stop - around.start)
                for part, around in zip(tile, where, strict=True)
            )
            mean[there], std[there] = filled.mean, filled.std
        return Posterior(mean, std, intervals=self.process.intervals)

    def _fill(self, where: Window) -> Posterior:
        outer, inner = self.view.grown(where, REACH)
        tile = self.view.tile(outer)
        hidden = np.isnan(tile.scene)
        gap = np.zeros_like(hidden)
        gap[inner] = hidden[inner]
        mean, std = tile.scene[inner].copy(), np.zeros(hidden[inner].shape, np.float32)
        if not gap.any():
            return Posterior(mean, std)
        process, deviation = self.process_at(tile, np.flatnonzero(gap))
        near = scipy.ndimage.distance_transform_cdt(~gap, "chessboard") <= RIM
        asked = np.flatnonzero(near & (gap | ~hidden))
        rows, columns = (part.start + at for part, at in zip(outer, np.unravel_index(asked, hidden.shape), strict=True))
        found = self.guesses[0].at(rows * self.view.shape[1] + columns, tile.around.pick(asked))
        median, error = np.full_like(tile.scene, np.nan), np.full_like(tile.scene, np.nan)
        median.flat[asked] = np.median(found.refined, axis=0)
        error.flat[asked] = tile.scene.flat[asked] - median.flat[asked]
        guess = median + spread_residuals(error, SPREAD_SCALES[:1])[0]
        mean[hidden[inner]] = blend(process, guess[gap], self.process.calibration)
        std[hidden[inner]] = deviation
        return Posterior(mean, std)

    def process_at(self, tile: Tile, wanted: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the Gaussian process makes of pixels (n,) of a tile, by their numbers in it: means and deviations."""
        expected, deviation = self.process.at(self.space.of(layers_of(tile, self.imputation)[wanted]))
        mean = np.asarray(tile.around.background.level.flat[wanted] + expected, np.float32)
        return mean, deviation.astype(np.float32)
