"""How much the Gaussian process and the first guess should weigh in the base: ``python -m bench.blend DATA DATA …``.

Gaps are pasted on clear days of histories, others than in the other benches, on whose gaps the weight was found. No day
of ``truth/`` is read.
"""

import math
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import typer

from bench.pasted import command, pasted
from bench.results import Result, Results, table
from miha.evolution.seeds import stream
from miha.gapfill.base import PROCESS, blend, process_of
from miha.gapfill.guess import guess_scene
from miha.gapfill.regressions import GuessSettings
from miha.threads import fixed_threads

OTHERS = 100  # number of the first gap
BASE, GUESS, PROCESS_ALONE = "base: 1 / calibration, at most 1", "0: the first guess alone", "1: the process alone"
WEIGHTS = {GUESS: 0.0, "0.4": 0.4, "0.6": 0.6, "0.8": 0.8, PROCESS_ALONE: 1.0}
ROWS = (BASE, *WEIGHTS)


@fixed_threads(1)
def measure(data: Path, number: int) -> Result:
    """Mean absolute error inside one pasted gap by ROWS, and the calibration of the process."""
    case = pasted(data, number + OTHERS)
    process = process_of(case.scene, case.background, case.static, stream(number, "fill", PROCESS))
    guess = guess_scene(case.scene, case.background, case.static, GuessSettings(), stream(number, "fill", 0)).value
    maps = {row: weight * process.mean + (1 - weight) * guess for row, weight in WEIGHTS.items()}
    maps[BASE] = blend(process.mean, guess, process.calibration)
    errors = {row: case.error(maps[row].astype(np.float32)) for row in ROWS}
    return {"errors": errors, "calibration": process.calibration, "day": case.day.isoformat(), "gap": case.gap}


def tables(kept: Results) -> str:
    """The error of the base, and what it is with other weights, ± standard error of the difference over gaps."""
    sets = {name: list(gaps.values()) for name, gaps in sorted(kept.results.items())}
    rows = [[BASE, *(f"{mean(one['errors'][BASE] for one in gaps):.4f}" for gaps in sets.values())]]
    for row in WEIGHTS:
        more = [[one["errors"][row] - one["errors"][BASE] for one in gaps] for gaps in sets.values()]
        rows.append([row, *(f"{mean(one):+.4f} ± {stdev(one) / math.sqrt(len(one)):.4f}" for one in more)])
    calibrations = [[one["calibration"] for one in gaps] for gaps in sets.values()]
    rows.append(["calibration, mean ± deviation", *(f"{mean(one):.2f} ± {stdev(one):.2f}" for one in calibrations)])
    return table(["weight of the process", *(f"{name}, {len(gaps)} gaps" for name, gaps in sets.items())], rows)


main = command("blend", "Compare weights of the process and the first guess", 40, measure, tables)


if __name__ == "__main__":
    typer.run(main)
