"""What a companion is worth: ``python -m bench.companion DATA DATA …``, data sets that have ``companions/``.

Gaps are pasted on clear days of histories. The base fills them without and with companions, and with companions whose
scenes are dealt anew among their days, which therefore tell nothing. No day of ``truth/`` is read.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import typer

from bench.pasted import command, differences, filler_of, history_of
from bench.results import Result
from miha.evolution.seeds import stream
from miha.gapfill.base import fill_base
from miha.gapfill.cases import pasted_case
from miha.gapfill.days import clear_days
from miha.rasters.stack import Stack
from miha.threads import fixed_threads

WITHOUT, WITH, DEALT = "without companions", "with companions", "with companions of other days"
ROWS = (WITHOUT, WITH, DEALT)


@fixed_threads(1)
def measure(data: Path, number: int) -> Result:
    """Mean absolute error of the base inside one pasted gap, by ROWS."""
    history, days = history_of(data), clear_days(history_of(data).values)
    companions = dict(zip(ROWS, ((), history.companions, tuple(map(_dealt, history.companions))), strict=True))
    errors = {}
    for row, those in companions.items():
        known, day = replace(history, companions=those), int(days[number % len(days)])
        case = pasted_case(known, day, number, filler_of(data).static)
        errors[row] = case.error(fill_base(case.scene, case.background, case.static, number).mean)
    return {"errors": errors, "day": case.day.isoformat(), "gap": case.gap}


def _dealt(companion: Stack) -> Stack:
    order = stream(0, "samples", 6).permutation(len(companion))
    dealt = np.empty_like(companion.values)
    dealt[order] = companion.values[np.roll(order, 1)]  # so that none stays where it was
    return replace(companion, values=dealt)


tables = partial(differences, rows=ROWS)
main = command("companion", "Fill with and without what else was seen on the same day", 40, measure, tables)


if __name__ == "__main__":
    typer.run(main)
