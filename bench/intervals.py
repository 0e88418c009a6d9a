"""Whether intervals hold as much of the truth as they say: ``python -m bench.intervals DATA DATA …``.

Gaps are pasted on clear days of histories, the same as in ``bench.peers``, and filled by the base. Its standard
deviation is that of the Gaussian process: as the kernel says, times one number in all scenes, or as it is calibrated by
the visible pixels of each scene. No day of ``truth/`` is read.
"""

import os
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import Annotated

import numpy as np
import torch
import typer

from bench.results import DOCUMENT, RESULTS, Result, Results, table
from miha.evolution.seeds import stream
from miha.gapfill.base import PROCESS, blend
from miha.gapfill.cases import INTERVALS, pasted_case
from miha.gapfill.days import clear_days
from miha.gapfill.features import Features
from miha.gapfill.filler import BaseFiller
from miha.gapfill.guess import guess_scene
from miha.gapfill.process import Posterior, Process, Size, pixels_to_fit
from miha.gapfill.regressions import GuessSettings
from miha.threads import fixed_threads

WIDENED = 1.2
KERNELS, ALIKE, CALIBRATED = "as the kernel says", f"times {WIDENED:g} in all scenes", "calibrated to each scene"
ROWS = (KERNELS, ALIKE, CALIBRATED)


@cache
def _filler(data: Path) -> BaseFiller:
    return BaseFiller(data)


@fixed_threads(1)
def measure(data: Path, number: int) -> Result:
    """Share of INTERVALS that hold the truth inside one pasted gap, and the score, by ROWS (``Case.sureness``)."""
    filler = _filler(data)
    assert filler.history is not None
    assert filler.static is not None
    days = clear_days(filler.history.values)
    case = pasted_case(filler.history, int(days[number % len(days)]), number)
    scene, background = case.scene, case.background
    features, departure = Features.of(background, filler.static), (scene - background.level).ravel()
    seen = np.flatnonzero(~np.isnan(departure))
    visible = pixels_to_fit(seen, scene.shape, Size(), stream(number, "fill", PROCESS))
    process = Process.fit(features[torch.from_numpy(visible)], departure[visible])
    expected, deviation = process.at(features)
    guess = guess_scene(scene, background, filler.static, GuessSettings(), stream(number, "fill", 0)).value
    filled = blend((background.level.ravel() + expected).reshape(scene.shape).astype(np.float32), guess)
    std = deviation.reshape(scene.shape).astype(np.float32)
    factors = {KERNELS: 1 / process.calibration, ALIKE: WIDENED / process.calibration, CALIBRATED: 1.0}
    sureness = {row: case.sureness(Posterior(filled, factor * std)) for row, factor in factors.items()}
    return {"sureness": sureness, "calibration": process.calibration, "day": case.day.isoformat(), "gap": case.gap}


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


def main(
    data: Annotated[list[Path], typer.Argument(help="data sets: history/ static/")],
    gaps: Annotated[int, typer.Option(min=1, help="gaps pasted on each data set")] = 40,
    processes: Annotated[int, typer.Option(min=1, help="side by side")] = os.cpu_count() or 1,
    fresh: Annotated[bool, typer.Option(help="forget the results of an earlier call")] = False,
    results: Annotated[Path, typer.Option(help="folder for intervals.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the table")] = DOCUMENT,
) -> None:
    """Compare standard deviations; a later call with more gaps adds to the former."""
    kept = Results("intervals", {}, fresh, results, document)
    kept.each([(one.name, gap, partial(measure, one, gap)) for gap in range(gaps) for one in data], processes)
    kept.publish(tables(kept))


if __name__ == "__main__":
    typer.run(main)
