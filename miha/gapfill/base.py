"""The base: what fills a scene without any training, in about two seconds for 10,000 pixels, and how sure that is."""

import numpy as np

from miha.evolution.seeds import stream
from miha.gapfill.guess import GuessSettings, guess_scene
from miha.gapfill.kernel import Features
from miha.gapfill.predictors import Background, Static
from miha.gapfill.process import Posterior, fill_by_process
from miha.rasters.stack import Image

PROCESS_WEIGHT = 0.6  # of the Gaussian process; the rest is of trees, or of the network that refines them
PROCESS = 99  # its place among the streams of a fill; opinions have the first
STD_SCALE = 1.2  # of the process's deviation: what is left out of the model widens errors (python -m bench.kernel)


def blend(process: Posterior, other: Image) -> Image:
    """Weighted mean (height, width) of the Gaussian process and another fill.

    One weight serves: weights by the size of the gap, by the distance to the nearest visible pixel, or for each
    predictor did no better on history days that were left out.
    """
    return np.asarray(PROCESS_WEIGHT * process.mean + (1 - PROCESS_WEIGHT) * other, np.float32)


def process_of(scene: Image, background: Background, static: Static, seed: int) -> Posterior:
    """What the Gaussian process makes of a scene (NaN in the gaps), its deviation set right."""
    process = fill_by_process(scene, background, Features.of(background, static), stream(seed, "fill", PROCESS))
    return Posterior(process.mean, np.asarray(STD_SCALE * process.std, np.float32))


def fill_base(scene: Image, background: Background, static: Static, seed: int) -> Posterior:
    """Fill a scene (height, width; NaN in the gaps) from its visible part, the other days and static layers.

    Args:
        scene: with at least ``days.MIN_VISIBLE`` visible pixels.
        background: the other days, without the scene's own; there may be none.
        static: layers that do not change.
        seed: draws trees and pixels.
    """
    process = process_of(scene, background, static, seed)
    guess = guess_scene(scene, background, static, GuessSettings(), stream(seed, "fill", 0))
    return Posterior(blend(process, guess.value), process.std)
