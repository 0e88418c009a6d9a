"""Maps of a few held-out gaps: before, after, truth, error, and how sure the fill is."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure

from miha.gapfill.cases import Case, fill_case, held_out_cases
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.pictures import DEVIATION, ERROR, UNKNOWN, VALUE, picture, shades
from miha.problems.presentation import Map, MapRow
from miha.rasters.stack import Image

SHOWN_GAPS = 3  # a small, a middle and a large one
MOST_PIXELS = 600  # of a map's longer side in the report

Item = TypeVar("Item")


def chosen_cases(cases: Sequence[Item], number: int) -> list[Item]:
    """At most ``number`` of some things in order, evenly from the first to the last."""
    places = np.unique(np.linspace(0, len(cases) - 1, min(number, len(cases))).round().astype(int))
    return [cases[place] for place in places]


def map_row(case: Case, filled: Image, std: Image, unit: str) -> MapRow:
    """A gap before and after, and beside it truth, error and standard deviation, for the report."""
    gap = np.isnan(case.scene)
    after = np.where(gap, filled, case.scene)
    low, high = (float(limit) for limit in np.nanpercentile(case.truth, [1, 99]))
    error = np.where(gap, filled - case.truth, np.nan)
    limit = float(np.nanpercentile(np.abs(error), 98)) or 1.0
    size, off = f"{100 * gap.mean():.0f} %", f"{case.error(filled):.2f} {unit}"
    name = f"Scene of {case.day}, {size} hidden"
    return MapRow(
        f"{name}: mean absolute error {off}",
        render("before", f"{name}: the scene as it was given, grey where hidden.", case.scene, VALUE, low, high, unit),
        render("after", f"{name}: the same with the gap filled.", after, VALUE, low, high, unit),
        (
            render("truth", f"{name}: what was really there.", case.truth, VALUE, low, high, unit),
            render(
                "error: filled less true",
                f"{name}: error inside the gap, mean absolute error {off}.",
                error,
                ERROR,
                -limit,
                limit,
                unit,
            ),
            render(
                "standard deviation",
                f"{name}: standard deviation of filled pixels, {np.nanmin(std[gap]):.2f} to {np.nanmax(std[gap]):.2f} "
                f"{unit}.",
                np.where(gap, std, np.nan),
                DEVIATION,
                0,
                limit,
                unit,
            ),
        ),
    )


def render(title: str, alt: str, values: Image, colours: str, low: float, high: float, unit: str) -> Map:
    """A map (height, width) as an image of its pixels; of a large one every n-th, at most MOST_PIXELS along a side."""
    step = -(-max(values.shape) // MOST_PIXELS)
    digits = 4 if min(abs(low), abs(high)) >= 100 else 3
    png, ends = picture(values[::step, ::step], colours, low, high), [f"{end:.{digits}g} {unit}" for end in (low, high)]
    return Map(title, alt, png, shades(colours), *ends)


def example_maps(filler: NetworkFiller) -> dict[str, Figure]:
    """``gap_`` and its size in percent → figure, from the smallest gap to the largest.

    Raises:
        DataError: the data set has no held-out gaps.
    """
    cases = sorted(held_out_cases(filler), key=lambda case: int(np.isnan(case.scene).sum()))
    return {f"gap_{case.gap}": _plot(filler, case) for case in chosen_cases(cases, SHOWN_GAPS)}


def _plot(filler: NetworkFiller, case: Case) -> Figure:
    predicted = fill_case(filler, case)
    gap = np.isnan(case.scene)
    filled, std = np.where(gap, predicted.mean, case.scene), np.where(gap, predicted.std, np.nan)
    simulated = ", simulated" if filler.history.simulated else ""
    title = f"gap of {int(case.gap)} %: mean absolute error {case.error(filled):.2f} {filler.unit}{simulated}"
    return plot_fill(case.scene, filled, case.truth, std, filler.unit, title)


def plot_fill(scene: Image, filled: Image, truth: Image, std: Image, unit: str, title: str) -> Figure:
    """Before, after, truth, error and standard deviation of one scene; maps are (height, width), NaN where unknown.

    Error and deviation have one scale: a pixel dark in both has a large error, and a large deviation announced it.
    """
    figure = Figure(figsize=(14.5, 3.6), layout="constrained")
    panels = figure.subplots(1, 5)
    low, high = np.nanpercentile(truth, [1, 99])
    for axes, name, values in zip(panels, ("before", "after", "truth"), (scene, filled, truth), strict=False):
        image = axes.imshow(values, cmap=VALUE, vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(name, fontsize=10)
    figure.colorbar(image, ax=panels[:3], label=unit or "value", shrink=0.85)
    error = np.where(np.isnan(scene), filled - truth, np.nan)
    limit = float(np.nanpercentile(np.abs(error), 98)) or 1.0
    image = panels[3].imshow(error, cmap=ERROR, vmin=-limit, vmax=limit, interpolation="nearest")
    panels[3].set_title("error in the gap", fontsize=10)
    figure.colorbar(image, ax=panels[3], label=f"filled - truth, {unit}" if unit else "filled - truth", shrink=0.85)
    image = panels[4].imshow(std, cmap=DEVIATION, vmin=0, vmax=limit, interpolation="nearest")
    panels[4].set_title("standard deviation", fontsize=10)
    figure.colorbar(image, ax=panels[4], label=unit or "value", shrink=0.85)
    for axes in panels:
        axes.set(xticks=[], yticks=[], facecolor=UNKNOWN)
    figure.suptitle(title, fontsize=11)
    return figure
