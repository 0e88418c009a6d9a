"""Gaps pasted on clear days of histories, and the command of a bench that measures one after the other."""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import typer

from bench.results import DOCUMENT, RESULTS, Result, Results, table
from miha.gapfill.cases import Case, pasted_case
from miha.gapfill.days import clear_days
from miha.gapfill.filler import BaseFiller
from miha.rasters.stack import Stack
from miha.threads import usable_cores


@cache
def filler_of(data: Path) -> BaseFiller:
    """What fills a data set without training."""
    return BaseFiller(data)


def history_of(data: Path) -> Stack:
    """All days of a data set."""
    history = filler_of(data).history
    assert history is not None
    return history


def pasted(data: Path, number: int) -> Case:
    """The gap of that number, pasted on the clear days in turn."""
    history = history_of(data)
    days = clear_days(history.values)
    return pasted_case(history, int(days[number % len(days)]), number, filler_of(data).static)


def differences(kept: Results, rows: Sequence[str]) -> str:
    """The error of the first row by data set, and what those of the others add to it, ± standard error over gaps."""
    sets = {name: [one["errors"] for one in gaps.values()] for name, gaps in sorted(kept.results.items())}
    first, *others = rows
    lines = [[first, *(f"{mean(one[first] for one in gaps):.4f}" for gaps in sets.values())]]
    for row in others:
        more = [[one[row] - one[first] for one in gaps] for gaps in sets.values()]
        lines.append([row, *(f"{mean(one):+.4f} ± {stdev(one) / math.sqrt(len(one)):.4f}" for one in more)])
    return table(["mean absolute error", *(f"{name}, {len(gaps)} gaps" for name, gaps in sets.items())], lines)


def command(
    name: str, purpose: str, gaps: int, measure: Callable[[Path, int], Result], tables: Callable[[Results], str]
) -> Callable[..., None]:
    """The command of a bench.

    Args:
        name: of its results.
        purpose: what ``--help`` says.
        gaps: pasted on each data set, unless another number is given.
        measure: of a data set and the number of a gap.
        tables: what is published.
    """
    many = gaps

    def main(
        data: Annotated[list[Path], typer.Argument(help="data sets: history/ static/")],
        gaps: Annotated[int, typer.Option(min=2, help="gaps pasted on each data set")] = many,
        processes: Annotated[int, typer.Option(min=1, help="side by side")] = usable_cores(),
        fresh: Annotated[bool, typer.Option(help="forget the results of an earlier call")] = False,
        results: Annotated[Path, typer.Option(help="folder for the figures")] = RESULTS,
        document: Annotated[Path, typer.Option(help="Markdown file for the table")] = DOCUMENT,
    ) -> None:
        kept = Results(name, {}, fresh, results, document)
        kept.each([(one.name, gap, partial(measure, one, gap)) for gap in range(gaps) for one in data], processes)
        kept.publish(tables(kept))

    main.__doc__ = f"{purpose}; a later call with more gaps adds to the former."
    return main
