"""What each part of the base's Gaussian process is worth: ``python -m bench.process DATA DATA …``.

Gaps are pasted on clear days of histories, the same as in ``bench.peers``. Each row takes one part away; the kernel's
other numbers stay as they are. No day of ``truth/`` is read.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import typer

from bench.pasted import command, differences, pasted
from bench.results import Result
from miha.gapfill.features import Features
from miha.gapfill.kernel import LEARNED, Kernel
from miha.gapfill.predictors import Background
from miha.gapfill.process import Size, fill_by_process
from miha.threads import fixed_threads

WHOLE = "the process as it is"
ALIKE, FEWER = "all days weigh alike, however long ago", "1000 visible pixels instead of 3000"
WITHOUT: dict[str, Callable[[Kernel], Kernel]] = {
    "no smoothed days": lambda kernel: replace(kernel, smooth=0.0),
    "no broad field": lambda kernel: replace(kernel, broad=0.0),
    "no rough field": lambda kernel: replace(kernel, rough=0.0),
    "no pixels that behave alike": lambda kernel: replace(kernel, kind=0.0, local_kind=0.0),
    "no effects that vary over the scene": lambda kernel: replace(kernel, drift=0.0),
}
ROWS = (WHOLE, ALIKE, FEWER, *WITHOUT)


@fixed_threads(1)
def measure(data: Path, number: int) -> Result:
    """Mean absolute error inside one pasted gap, by ROWS."""
    case = pasted(data, number)

    def error(background: Background, kernel: Kernel = LEARNED, size: Size = Size()) -> float:
        features, rng = Features.of(background, case.static), np.random.default_rng(number)
        return case.error(fill_by_process(case.scene, background, features, rng, kernel, size).mean)

    known = case.background
    errors = {
        WHOLE: error(known),
        ALIKE: error(replace(known, weights=np.ones_like(known.weights))),
        FEWER: error(known, size=Size(dense=1000)),
        **{name: error(known, without(LEARNED)) for name, without in WITHOUT.items()},
    }
    return {"errors": errors, "day": case.day.isoformat(), "gap": case.gap}


tables = partial(differences, rows=ROWS)
main = command("process", "Take parts of the process away, one at a time", 40, measure, tables)


if __name__ == "__main__":
    typer.run(main)
