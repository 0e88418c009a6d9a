"""The figure of a run: its learning history."""

import io
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from miha.records.lineage import lineage_frame

MAINLINE, RIVAL, WINNER, OTHER = "#1f3b57", "#b9c3cd", "#d1572f", "#5b9a68"


class Picture(Figure):
    """A figure that a notebook shows, whatever the backend of matplotlib."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=80)
        return buffer.getvalue()


def plot_history(
    history: pd.DataFrame,
    population: pd.DataFrame,
    loss_name: str = "validation loss",
    other: pd.DataFrame | None = None,
) -> Figure:
    """The validation loss along the mainline, the candidates of each cycle, and what won.

    Args:
        history: rows as in ``history.csv``.
        population: rows as in ``population.csv``.
        loss_name: label of the vertical axis.
        other: rows of a run with unchanged hyperparameters, to compare with.
    """
    figure = Picture(figsize=(10, 4.6), layout="constrained")
    axes = figure.add_subplot()
    mainline = history[history.candidate.isna()].sort_values("epoch")
    candidates = history[history.candidate.notna()].merge(population[["cycle", "candidate", "selected"]], how="left")
    lineage = lineage_frame(history, population)
    for _, rivals in candidates.groupby("cycle"):
        parent = lineage[lineage.epoch < rivals.epoch.min()].tail(1)
        for _, curve in rivals.groupby("candidate"):
            won = bool(curve.selected.eq(True).all())
            path = pd.concat([parent, curve])
            look: dict[str, Any] = (
                {"color": WINNER, "marker": "D", "ms": 4, "lw": 2.0} if won else {"color": RIVAL, "lw": 1.2}
            )
            axes.plot(path.epoch, path.valid_loss, **look, zorder=3 if won else 1)
        axes.axvline(rivals.epoch.min() - 0.5, color="#8896a3", lw=0.8, ls=":")
    axes.plot(lineage.epoch, lineage.valid_loss, color=MAINLINE, lw=2.0, zorder=2)
    axes.plot(mainline.epoch, mainline.valid_loss, color=MAINLINE, lw=0, marker=".", zorder=4)
    axes.plot(lineage.epoch, lineage.train_loss, color=MAINLINE, lw=0.9, ls="--", alpha=0.6, label="training, mainline")
    axes.plot([], [], color=MAINLINE, lw=2, marker=".", label="validation, mainline")
    if len(population):
        axes.plot([], [], color=WINNER, lw=2, marker="D", ms=4, label="selected candidate")
        axes.plot([], [], color=RIVAL, label="other candidates")
    if other is not None:
        axes.plot(other.epoch, other.valid_loss, color=OTHER, lw=1.4, label="unchanged", zorder=0)
    _name_winners(axes, history, population)
    axes.set(xlabel="epoch along the mainline", ylabel=loss_name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    return figure


def _name_winners(axes: Axes, history: pd.DataFrame, population: pd.DataFrame) -> None:
    """Write the winning change of each cycle at its border, above the curves."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.45 * (high - low))
    for winner in population[population.selected].itertuples():
        first = history[(history.cycle == winner.cycle) & history.candidate.notna()].epoch.min()
        axes.annotate(
            str(winner.change),
            (first - 0.5, 0.98),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=8,
            ha="right",
            va="top",
            color=WINNER,
        )
