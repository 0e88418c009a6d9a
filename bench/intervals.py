"""Whether intervals hold as much of the truth as they say: ``python -m bench.intervals DATA DATA …``.

Gaps are pasted on clear days of histories, the same as in ``bench.peers``, and filled by the base. Its standard
deviation is that of the Gaussian process: as the kernel says, times one number in all scenes, or calibrated by the
visible pixels of each scene: by single ones, each predicted from all others, or by squares that are left out. Intervals
are those of normal errors, or quantiles of the errors in these squares. No day of ``truth/`` is read.
"""

from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
import typer

from bench.pasted import command, pasted
from bench.results import Result, Results, table
from miha.evolution.seeds import stream
from miha.gapfill.base import PROCESS, blend
from miha.gapfill.features import Features
from miha.gapfill.guess import guess_scene
from miha.gapfill.intervals import INTERVALS, NORMAL, Intervals
from miha.gapfill.process import Posterior, Process, Size, pixels_to_fit
from miha.gapfill.regressions import GuessSettings
from miha.threads import fixed_threads

WIDENED = 1.2
KERNELS, ALIKE = "as the kernel says", f"times {WIDENED:g} in all scenes"
SINGLES, CALIBRATED = "calibrated to each scene by single pixels", "calibrated to each scene by squares"
QUANTILES = "calibrated by squares, quantiles of their errors"
ROWS = (KERNELS, ALIKE, SINGLES, CALIBRATED, QUANTILES)


@fixed_threads(1)
def measure(data: Path, number: int) -> Result:
    """Share of INTERVALS that hold the truth inside one pasted gap, and the score, by ROWS (``Case.sureness``)."""
    case = pasted(data, number)
    scene, background, static = case.scene, case.background, case.static
    features, departure = Features.of(background, static), (scene - background.level).ravel()
    seen = np.flatnonzero(~np.isnan(departure))
    visible = pixels_to_fit(seen, scene.shape, Size(), stream(number, "fill", PROCESS))
    process = Process.fit(features[torch.from_numpy(visible)], departure[visible])
    expected, deviation = process.at(features)
    guess = guess_scene(scene, background, static, GuessSettings(), stream(number, "fill", 0)).value
    filled = blend(
        (background.level.ravel() + expected).reshape(scene.shape).astype(np.float32), guess, process.calibration
    )
    std = deviation.reshape(scene.shape).astype(np.float32)
    own: dict[str, tuple[float, Intervals]] = {
        KERNELS: (1.0, NORMAL),
        ALIKE: (WIDENED, NORMAL),
        SINGLES: (by_single_pixels(process), NORMAL),
        CALIBRATED: (process.calibration, NORMAL),
        QUANTILES: (process.calibration, process.intervals),
    }
    sureness = {
        row: case.sureness(Posterior(filled, factor / process.calibration * std, intervals=widths))
        for row, (factor, widths) in own.items()
    }
    return {"sureness": sureness, "calibration": process.calibration, "day": case.day.isoformat(), "gap": case.gap}


def by_single_pixels(process: Process) -> float:
    """Calibration by visible pixels, each predicted from all others (Dubrule 1983, Math. Geol. 15, 687-699)."""
    fitted: Any = process.fitted
    inverse = torch.linalg.solve_triangular(fitted.root, torch.eye(len(fitted.root)), upper=False)
    return float((fitted.weights**2 / (inverse**2).sum(0)).mean().sqrt())


def tables(kept: Results) -> str:
    """Percent of the truth in the intervals, means over gaps, and the score beside them."""
    sets = {name: list(gaps.values()) for name, gaps in sorted(kept.results.items())}
    rows = []
    for row in ROWS:
        held = [
            "  ".join(f"{100 * mean(one['sureness'][row][f'{share}'] for one in gaps):.0f}" for share in INTERVALS)
            for gaps in sets.values()
        ]
        scores = [f"{mean(one['sureness'][row]['crps'] for one in gaps):.3f}" for gaps in sets.values()]
        rows.append([row, *(part for both in zip(held, scores, strict=True) for part in both)])
    header = [part for name, gaps in sets.items() for part in (f"{name}, {len(gaps)} gaps", "CRPS")]
    return table([f"truths in the {', '.join(map(str, INTERVALS))} % intervals, %", *header], rows)


main = command("intervals", "Compare standard deviations", 40, measure, tables)


if __name__ == "__main__":
    typer.run(main)
