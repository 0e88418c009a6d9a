"""The error to expect, without training: gaps of real shapes in the user's own days, filled by each method."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from miha.errors import DataError
from miha.gapfill.base import fill_base
from miha.gapfill.cases import fill_case, pasted_case
from miha.gapfill.days import FEW_DAYS, clear_days, warn_if_few
from miha.gapfill.eof.single import fill_by_patterns
from miha.gapfill.excerpt import SIDE
from miha.gapfill.intervals import INTERVALS
from miha.gapfill.judging import BASELINES, baselines
from miha.gapfill.network_filler import NetworkFiller, open_filler
from miha.rasters.stack import ReadOptions
from miha.training.workers import compute_all, working
from miha.wording import plural

CLASSES = (0, 25, 50, 75, 100)  # percent of the scene that tell gaps apart
PATTERNS = "patterns"  # column of ``miha fill --dates --method eof``, where there are FEW_DAYS days
NETWORK = "network"  # column of a model that is judged beside
GAPS, WINDOWS = 60, 12  # gaps of a scene, and of windows, which are larger and so take longer
MARKERS = "vs^oPD"  # of all methods


@dataclass(frozen=True)
class Assessment:
    """Errors of each method on pasted gaps.

    Attributes:
        gaps: a row for each gap: day, size (percent of ``place``), mean absolute error of each method, and the share
            of each of the base's intervals that holds the truth.
        methods: columns of ``gaps`` that are errors.
        unit: of the errors.
        side: pixels a side, of the windows that gaps are pasted on; None: on whole scenes.
    """

    gaps: pd.DataFrame
    methods: list[str]
    unit: str
    side: int | None = None

    @property
    def place(self) -> str:
        """What sizes of gaps are percent of."""
        return f"a window of {self.side} × {self.side} pixels" if self.side else "the scene"

    def table(self) -> pd.DataFrame:
        """Mean errors by size of the gap and over all; and the standard error of the latter, days taken as units."""
        size = self.gaps["size"]
        by_size = self.gaps.groupby(pd.cut(size, CLASSES), observed=True)[self.methods].mean()
        by_size.index = pd.Index([f"{found.left:.0f} to {found.right:.0f} %" for found in by_size.index])
        by_day = self.gaps.groupby("day")[self.methods].mean()
        rows = {"all": self.gaps[self.methods].mean(), "standard error": by_day.std() / np.sqrt(len(by_day))}
        return pd.concat([by_size, pd.DataFrame(rows).T]).rename_axis("gap")

    def coverage(self) -> dict[str, float]:
        """Percent of the base's intervals → share of truths that they hold."""
        return {f"{share}": float(self.gaps[f"{share}"].mean()) for share in INTERVALS}

    def picture(self) -> Figure:
        """Error of each method against the size of the gap."""
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        classes = pd.cut(self.gaps["size"], CLASSES)
        for number, (method, marker) in enumerate(zip(self.methods, MARKERS, strict=False)):
            means = self.gaps.groupby(classes, observed=True)[["size", method]].mean()
            look: dict[str, Any] = {"marker": marker, "color": f"C{number}"}
            axes.plot(self.gaps["size"], self.gaps[method], linestyle="", markersize=3, alpha=0.3, **look)
            axes.plot(means["size"], means[method], label=method, **look)
        unit = f", {self.unit}" if self.unit else ""
        axes.set(xlabel=f"gap, percent of {self.place}", ylabel=f"mean absolute error{unit}", ylim=(0, None))
        days = self.gaps["day"].nunique()
        axes.set_title(f"{plural(len(self.gaps), 'gap')} on {plural(days, 'day')}, each day left out of what fills it")
        axes.legend(frameon=False)
        return figure


def assess(
    data: Path, gaps: int | None, processes: int, model: Path | None = None, reading: ReadOptions = ReadOptions()
) -> Assessment:
    """Hide gaps in clear days of a history, and fill them with each method, the day itself left out of everything.

    Patterns are fitted anew for each gap, to the history with that gap in it: they know of the day what is visible.
    Of a stack that is opened and not read gaps are pasted on windows, and filled as scenes by themselves.

    Args:
        data: the data set: history/ static/ companions/.
        gaps: how many, spread evenly over sizes and days; None: GAPS, or WINDOWS.
        processes: that fill side by side.
        model: an archive to judge beside, on the days alone that it did not learn from.
        reading: how pixels become values, where there is no model to say it.

    Raises:
        DataError: the data set cannot be used, or no day is left to judge by.
        ArchiveError: the model cannot be used with ``data``.
    """
    filler = open_filler(model, data, reading)
    history = filler.history
    assert history is not None, "a data set has one"
    days = [int(day) for day in clear_days(history.values)]
    if isinstance(filler, NetworkFiller):
        days = [day for day in days if history.dates[day].isoformat() not in filler.learned]
        if not days:
            raise DataError(f"{model} was trained on every clear day of {data}/history. Leave the model out.")
    if not days:
        raise DataError(f"no day of {data}/history is clear enough to hide gaps in. Add days.")
    if len(history) < 2:
        raise DataError(f"{data}/history has one day; at least two are needed to leave one out. Add days.")
    warn_if_few(len(history))
    gaps = gaps or (WINDOWS if filler.opened else GAPS)
    spread = np.linspace(0, len(days) - 1, min(gaps, len(days))).round().astype(int)
    jobs = [(days[spread[gap % len(spread)]], gap) for gap in range(gaps)]
    with working(processes) if processes > 1 else nullcontext():
        rows = compute_all(partial(_fill, data, model, reading), jobs, work="gaps")
    beside = [PATTERNS] * (len(history) >= FEW_DAYS) + [NETWORK] * bool(model)
    return Assessment(pd.DataFrame(rows), [*BASELINES, *beside], filler.unit, SIDE if filler.opened else None)


def _fill(data: Path, model: Path | None, reading: ReadOptions, pasted: tuple[int, int]) -> dict[str, Any]:
    """One row of the gaps; ``pasted`` are the number of its day in the history and its own."""
    filler = open_filler(model, data, reading)
    history = filler.history
    assert history is not None, "a data set has one"
    case = pasted_case(history, *pasted, filler.static_files if filler.opened else filler.static)
    base = fill_base(case.scene, case.background, case.static, filler.seed)
    errors = {name: case.error(values) for name, values in baselines(case, base.mean).items()}
    if len(history) >= FEW_DAYS:
        errors[PATTERNS] = case.error(fill_by_patterns(history, case.day, case.scene, case.where).mean)
    if isinstance(filler, NetworkFiller):
        errors[NETWORK] = case.error(fill_case(filler, case).mean)
    size = 100 * float(np.isnan(case.scene).mean())
    return {"day": case.day.isoformat(), "size": size, **errors, **case.sureness(base)}
