"""How well a gap-filling model does on days that it neither trained nor validated on."""

from datetime import date
from pathlib import Path

import numpy as np

from bench.results import Result
from miha.evolution.seeds import stream
from miha.gapfill.days import paste_gap
from miha.gapfill.encoding import Normalisation
from miha.gapfill.gaps import LARGEST, SMALLEST, Gaps
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.predictors import Background


def without_truth(data: Path, folder: Path) -> Path:
    """The data set without ``truth/``, by links, so that days of its history are held out for the test."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("history", "static"):
        if (data / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to((data / name).absolute(), target_is_directory=True)
    return folder


def held_out_errors(archive: Path, data: Path, samples: int) -> Result:
    """Mean squared error per pixel of standardised values, inside pasted gaps and over all that is known of the scene.

    Args:
        archive: of a model whose run held test days back.
        data: the data set that it was trained on.
        samples: gaps to paste; their sizes are spread evenly, their shapes are clouds of training days.
    """
    filler = NetworkFiller(archive, data)
    test, seed = filler.split.test, filler.seed
    history, training = filler.history, filler.problem.training_days(seed)
    gaps, background = Gaps.of(training.values), Background.of(training.values)
    std = Normalisation.of(background).std
    sums = np.zeros((2, 2))
    for number in range(samples):
        rng = stream(seed, "samples", 2, number)
        day = history.values[history.dates.index(date.fromisoformat(test[number % len(test)]))]
        fraction = SMALLEST + (LARGEST - SMALLEST) * (number + 0.5) / samples
        scene = paste_gap(day, gaps, fraction, rng)
        error = ((filler.predict(scene, background).mean - day) / std) ** 2
        for row, known in enumerate((np.isnan(scene) & ~np.isnan(day), ~np.isnan(day))):
            sums[row] += error[known].sum(dtype=np.float64), known.sum()
    gap, whole = sums[:, 0] / sums[:, 1]
    return {"gap": float(gap), "scene": float(whole), "test_days": len(test)}
