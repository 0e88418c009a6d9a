"""Patterns (``--method eof``) beside the base and interpolation in time: ``python -m bench.eof DATA DATA …``.

Gaps are pasted on clear days of histories, the same as in ``bench.peers``. The day joins the history with its gap, and
is filled as ``miha fill --dates`` would.
"""

from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import typer

from bench.cube import linear, whittaker
from bench.pasted import command, history_of, pasted
from bench.results import Result, Results, table
from miha.gapfill.base import fill_base
from miha.gapfill.cases import Case
from miha.gapfill.eof.single import fill_by_patterns
from miha.gapfill.process import Posterior
from miha.rasters.stack import Image, Stack
from miha.threads import fixed_threads

METHODS = {
    "base": "base: process and trees",
    "eof": "patterns",
    "causal": "patterns, only days before",
    "linear": "linear in time",
    "whittaker": "Whittaker's smoother",
}


@fixed_threads(1)
def measure(data: Path, number: int) -> Result:
    """Mean absolute error inside one pasted gap of each method, and share of the gap inside intervals of 80 %."""
    case, history = pasted(data, number), history_of(data)
    day = history.dates.index(case.day)
    values = np.asarray(history.values).copy()
    values[day] = case.scene
    nothing = np.full((1, *case.scene.shape), np.nan, np.float32)  # a day before the first, and one after the last
    padded = np.concatenate([nothing, values, nothing])
    ways = {
        "base": fill_base(case.scene, case.background, case.static, number),
        "eof": _patterns(history, case, False),
        "causal": _patterns(history, case, True),
    }
    errors = {name: _error(case, filled.mean) for name, filled in ways.items()}
    errors |= {"linear": _error(case, linear(padded)[day + 1]), "whittaker": _error(case, whittaker(values)[day])}
    inside = {name: _inside(case, filled) for name, filled in ways.items()}
    return {"errors": errors, "inside": inside, "day": case.day.isoformat(), "gap": case.gap}


def _patterns(history: Stack, case: Case, causal: bool) -> Posterior:
    """What a series makes of the day, NaN where no day that it knows shows anything."""
    filled = fill_by_patterns(history, case.day, case.scene, causal=causal)
    known = history.before(case.day) if causal else history.without(case.day)
    shown = ~np.isnan(case.scene) | ~np.isnan(known.values).all(axis=0)
    return replace(filled, mean=np.where(shown, filled.mean, np.float32(np.nan)))


def _error(case: Case, values: Image) -> float:
    """A pixel that nothing tells of, as on the first day of a causal fill, counts as the mean of what is visible."""
    return case.error(np.where(np.isnan(values), np.nanmean(case.scene), values))


def _inside(case: Case, filled: Posterior) -> float | None:
    """Share of the truth inside intervals of 80 %, where anything is filled."""
    known = case.hidden & ~np.isnan(filled.mean)
    off = np.abs(filled.mean - case.truth)[known] / filled.std[known]
    return float((off <= filled.intervals[80]).mean()) if known.any() else None


def tables(kept: Results) -> str:
    """Errors, and shares inside intervals of 80 %, for each data set."""
    sets = {name: list(gaps.values()) for name, gaps in sorted(kept.results.items())}
    rows = []
    for method, label in METHODS.items():
        row = [label]
        for gaps in sets.values():
            inside = [gap["inside"][method] for gap in gaps if gap["inside"].get(method) is not None]
            share = f" ({100 * mean(inside):.0f} %)" if inside else ""
            row.append(f"{mean(gap['errors'][method] for gap in gaps):.3f}{share}")
        rows.append(row)
    header = [f"{name}, {len(gaps)} gaps" for name, gaps in sets.items()]
    return table(["mean absolute error (inside 80 % intervals)", *header], rows)


main = command("eof", "Compare by mean absolute error inside pasted gaps", 14, measure, tables)


if __name__ == "__main__":
    typer.run(main)
