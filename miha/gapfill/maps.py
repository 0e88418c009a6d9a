"""Maps of a few held-out gaps: before, after, truth, error, and how sure the fill is."""

import numpy as np
from matplotlib.figure import Figure

from miha.gapfill.cases import Case, held_out_cases
from miha.gapfill.filler import NetworkFiller
from miha.rasters.stack import Image

SHOWN_GAPS = 3  # a small, a middle and a large one


def example_maps(filler: NetworkFiller) -> dict[str, Figure]:
    """``gap_`` and its size in percent → figure, from the smallest gap to the largest.

    Raises:
        DataError: the data set has no held-out gaps.
    """
    cases = sorted(held_out_cases(filler), key=lambda case: int(np.isnan(case.scene).sum()))
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(SHOWN_GAPS, len(cases))).round().astype(int))
    return {f"gap_{cases[number].gap}": _plot(filler, cases[number]) for number in chosen}


def _plot(filler: NetworkFiller, case: Case) -> Figure:
    predicted = filler.predict(case.scene, case.background)
    gap = np.isnan(case.scene)
    filled, std = np.where(gap, predicted.mean, case.scene), np.where(gap, predicted.std, np.nan)
    simulated = ", simulated" if filler.history.simulated else ""
    title = f"gap of {int(case.gap)} %: mean absolute error {case.error(filled):.2f} {filler.unit}{simulated}"
    return plot_fill(case.scene, filled, case.truth, std, filler.unit, title)


def plot_fill(scene: Image, filled: Image, truth: Image, std: Image, unit: str, title: str) -> Figure:
    """Before, after, truth, error and standard deviation of one scene; maps are (height, width), NaN where unknown.

    Error and deviation have one scale: what is dark in both is wrong where the fill said so.
    """
    figure = Figure(figsize=(14.5, 3.6), layout="constrained")
    panels = figure.subplots(1, 5)
    low, high = np.nanpercentile(truth, [1, 99])
    for axes, name, values in zip(panels, ("before", "after", "truth"), (scene, filled, truth), strict=False):
        image = axes.imshow(values, cmap="inferno", vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(name, fontsize=10)
    figure.colorbar(image, ax=panels[:3], label=unit or "value", shrink=0.85)
    error = np.where(np.isnan(scene), filled - truth, np.nan)
    limit = float(np.nanpercentile(np.abs(error), 98)) or 1.0
    image = panels[3].imshow(error, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    panels[3].set_title("error in the gap", fontsize=10)
    figure.colorbar(image, ax=panels[3], label=f"filled - truth, {unit}" if unit else "filled - truth", shrink=0.85)
    image = panels[4].imshow(std, cmap="Reds", vmin=0, vmax=limit, interpolation="nearest")
    panels[4].set_title("standard deviation", fontsize=10)
    figure.colorbar(image, ax=panels[4], label=unit or "value", shrink=0.85)
    for axes in panels:
        axes.set(xticks=[], yticks=[], facecolor="#e4e8ec")
    figure.suptitle(title, fontsize=11)
    return figure
