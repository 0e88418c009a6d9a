"""Maps of a few held-out gaps: before, after, truth and error."""

import numpy as np
from matplotlib.figure import Figure

from miha.problems.filler import Filler
from miha.report.evaluate import Case, held_out_cases
from miha.report.plots import plot_fill

SHOWN_GAPS = 3  # a small, a middle and a large one


def example_maps(filler: Filler) -> dict[str, Figure]:
    """Size of the gap in percent → figure, from the smallest gap to the largest.

    Raises:
        DataError: the data set has no held-out gaps.
    """
    cases = sorted(held_out_cases(filler), key=lambda case: int(np.isnan(case.scene).sum()))
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(SHOWN_GAPS, len(cases))).round().astype(int))
    return {cases[number].gap: _plot(filler, cases[number]) for number in chosen}


def _plot(filler: Filler, case: Case) -> Figure:
    filled = np.where(np.isnan(case.scene), filler.predict(case.scene, case.background), case.scene)
    simulated = ", simulated" if filler.sources.history.simulated else ""
    title = f"gap of {int(case.gap)} %: mean absolute error {case.error(filled):.2f} {filler.unit}{simulated}"
    return plot_fill(case.scene, filled, case.truth, filler.unit, title)
