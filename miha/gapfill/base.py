"""The base: what fills a scene without any training, in about two seconds for 10,000 pixels, and how sure that is."""

import numpy as np

from miha.evolution.seeds import stream
from miha.gapfill.features import Features
from miha.gapfill.guess import WHOLE, Window, guess_scene
from miha.gapfill.predictors import Background, Static
from miha.gapfill.process import INDUCING, Posterior, fill_by_process
from miha.gapfill.regressions import GuessSettings
from miha.rasters.stack import Image

PROCESS_WEIGHT = 0.6  # of the Gaussian process; the rest is of the first guess
PROCESS = 99  # its place among the streams of a fill; opinions have the first
STD_SCALE = 1.2  # of the process's deviation: what is left out of the model widens errors (python -m bench.kernel)


def blend(process: Image, guess: Image) -> Image:
    """Weighted mean (height, width) of what the Gaussian process and the first guess say.

    One weight serves: weights by the size of the gap, by the distance to the nearest visible pixel, or for each
    predictor did no better on history days that were left out.
    """
    return np.asarray(PROCESS_WEIGHT * process + (1 - PROCESS_WEIGHT) * guess, np.float32)


def process_of(
    scene: Image,
    background: Background,
    static: Static,
    rng: np.random.Generator,
    inducing: int = INDUCING,
    window: Window = WHOLE,
) -> Posterior:
    """What the Gaussian process makes of a scene (NaN in the gaps), its deviation set right."""
    features = Features.of(background, static)
    process = fill_by_process(scene, background, features, rng, inducing=inducing, window=window)
    scale = 1.0 if background.is_empty else STD_SCALE  # a kernel fitted to the scene knows its errors
    return Posterior(process.mean, np.asarray(scale * process.std, np.float32))


def fill_base(scene: Image, background: Background, static: Static, seed: int) -> Posterior:
    """Fill a scene (height, width; NaN in the gaps) from its visible part, the other days and static layers.

    Args:
        scene: with at least ``days.MIN_VISIBLE`` visible pixels.
        background: the other days, without the scene's own; there may be none.
        static: layers that do not change.
        seed: draws trees and pixels.
    """
    process = process_of(scene, background, static, stream(seed, "fill", PROCESS))
    if background.is_empty:
        return process  # trees have nothing to learn from but positions, which the process knows better
    guess = guess_scene(scene, background, static, GuessSettings(), stream(seed, "fill", 0))
    return Posterior(blend(process.mean, guess.value), process.std)
