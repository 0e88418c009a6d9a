"""Figures of how well gaps are filled: errors by size, by distance and as a histogram, and what intervals hold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.interpolate import PchipInterpolator

from miha.gapfill.comparison import Comparison
from miha.problems.presentation import Plot

OURS = {"color": "#00224e", "marker": "o", "lw": 2.4, "ms": 6, "zorder": 5}
BASE = {"color": "#b8860b", "marker": "s", "lw": 1.8, "ms": 5, "ls": "--", "zorder": 4}
OTHERS: tuple[dict[str, Any], ...] = tuple(  # distinguished by marker and dashes as well as by shade
    {"color": shade, "marker": marker, "ls": line, "lw": 1.2, "ms": 4}
    for shade, marker, line in (
        ("#5c6773", "^", "-"),
        ("#8793a0", "v", "-."),
        ("#5c6773", "D", ":"),
        ("#8793a0", "P", "-"),
        ("#5c6773", "X", "-."),
        ("#8793a0", "*", ":"),
    )
)
SIZE = (5.4, 3.9)  # inches, so that text is legible at the width of a phone


def styles(comparison: Comparison, base: str) -> dict[str, dict[str, Any]]:
    """How each method is drawn; it is the same in all figures."""
    others = [name for name in comparison.methods if name not in (comparison.ours, base)]
    looks = {name: OTHERS[number % len(OTHERS)] for number, name in enumerate(others)}
    return {**looks, base: BASE, comparison.ours: OURS}


def plot_by_size(comparison: Comparison, looks: Mapping[str, dict[str, Any]], unit: str) -> Plot:
    """Mean absolute error against the size of the gap."""
    figure, axes = _axes()
    frame = comparison.by_gap()
    for name, look in looks.items():
        axes.plot(frame["size"], frame[name], label=name, **look)
    axes.set(xlabel="size of the gap, percent of the scene", ylabel=f"mean absolute error, {unit}", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9.5)
    small, large = frame.iloc[0], frame.iloc[-1]
    ours = comparison.ours
    alt = (
        f"Line chart of the mean absolute error against the size of the gap. {ours}: {small[ours]:.2f} {unit} for a "
        f"gap of {small['size']:.0f} % of the scene, {large[ours]:.2f} {unit} for one of {large['size']:.0f} %."
    )
    return Plot("Error against the size of the gap", alt, figure)


def plot_by_distance(comparison: Comparison, looks: Mapping[str, dict[str, Any]], unit: str) -> Plot:
    """Mean absolute error against the distance to the nearest observed pixel."""
    figure, axes = _axes()
    frame = comparison.by_distance()
    for name, look in looks.items():
        axes.plot(frame.distance, frame[name], label=name, **look)
    axes.set_xscale("log")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= 1.3 * frame.distance.max()]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="distance to the nearest observed pixel, pixels", ylabel=f"mean absolute error, {unit}")
    axes.set_ylim(0, None)
    axes.legend(frameon=False, fontsize=9.5)
    near, far = frame.iloc[0], frame.iloc[-1]
    ours = comparison.ours
    alt = (
        f"Line chart of the mean absolute error against the distance to the nearest observed pixel. {ours}: "
        f"{near[ours]:.2f} {unit} beside an observed pixel, {far[ours]:.2f} {unit} at {far.distance:.0f} pixels."
    )
    return Plot("Error against the distance to the nearest observed pixel", alt, figure)


def plot_histogram(comparison: Comparison, looks: Mapping[str, dict[str, Any]], base: str, unit: str) -> Plot:
    """How errors are distributed, of the model and of the base."""
    figure, axes = _axes()
    errors = comparison.errors()
    ours = errors[comparison.ours]
    limit = float(np.percentile(np.abs(ours), 99)) or 1.0
    bins = np.linspace(-limit, limit, 41).tolist()
    axes.hist(ours, bins, color="#6d8fbf", alpha=0.75, density=True, label=comparison.ours)
    if base in errors:
        axes.hist(errors[base], bins, histtype="step", density=True, label=base, color=looks[base]["color"], lw=1.6)
    axes.axvline(0, color="#5c6773", lw=0.8)
    axes.set(xlabel=f"filled less true value, {unit}", ylabel="density", yticks=[])
    axes.legend(frameon=False, fontsize=9.5)
    alt = (
        f"Histogram of the errors of {comparison.ours} at {len(ours):,} hidden pixels: mean {ours.mean():+.2f} {unit}, "
        f"standard deviation {ours.std():.2f} {unit}, nine in ten within {np.percentile(np.abs(ours), 90):.2f} {unit}."
    )
    return Plot("Distribution of errors", alt, figure)


def plot_coverage(comparison: Comparison) -> Plot:
    """How many of the true values lie in intervals that should hold 10 to 95 % of them."""
    figure, axes = _axes()
    held = comparison.coverage()
    nominal = np.array(list(held))
    axes.plot([0, 100], [0, 100], color="#5c6773", lw=1, ls="--", label="as it should be")
    smooth = np.linspace(0, nominal[-1], 100)
    axes.plot(smooth, PchipInterpolator([0, *nominal], [0, *held.values()])(smooth), color=OURS["color"], lw=2)
    for share in (50, 80, 95):
        axes.plot(share, held[share], color=OURS["color"], marker="o", ms=7)
        axes.annotate(f"{held[share]:.0f} % in the {share} % interval", (share, held[share]), (-8, 4), ha="right",
                      textcoords="offset points", fontsize=8)  # fmt: skip
    axes.set(xlabel="true values that the interval should hold, %", ylabel="true values that it holds, %")
    axes.set(xlim=(0, 101), ylim=(0, 104))
    axes.legend(frameon=False, fontsize=9.5, loc="lower right")
    alt = "Line chart of how many true values lie inside the intervals: " + ", ".join(
        f"{held[share]:.0f} % in the {share} % interval" for share in (50, 80, 95)
    )
    return Plot("Do the standard deviations hold?", f"{alt}.", figure)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
