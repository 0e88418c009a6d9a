"""What a problem has to show of a trained model, for the report: sentences, errors beside others, maps, plots."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Estimate:
    """A figure of one method, with its 95 % interval (``low`` to ``high``) where there is one."""

    method: str
    value: float
    low: float | None = None
    high: float | None = None
    ours: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure with its heading, and in words what it shows."""

    title: str
    alt: str
    figure: "Figure"


@dataclass(frozen=True)
class Map:
    """One map as a PNG of its pixels, with its legend.

    Attributes:
        title: above it.
        alt: in words what it shows.
        png: one image pixel for each pixel of the map, or for every n-th of a large one.
        colours: CSS colours of its legend, from ``low`` to ``high``.
        low: value of the first colour, with its unit.
        high: value of the last one.
    """

    title: str
    alt: str
    png: bytes
    colours: Sequence[str]
    low: str
    high: str


@dataclass(frozen=True)
class MapRow:
    """Maps of one scene: two to compare with a slider, and others beside them."""

    title: str
    before: Map
    after: Map
    others: Sequence[Map] = ()


@dataclass(frozen=True)
class Presentation:
    """What the report shows of one problem's best model.

    Attributes:
        title: heading of the maps or figures.
        subject: what the report is about, e.g. ``Gap filling``; by default the problem's name.
        what: a sentence: what was learned, on what data.
        headline: the most important figure with its unit, e.g. ``0.84 K``.
        meaning: what the headline is.
        sentences: how well the model does, each a sentence.
        estimates: the same figure for each method, best first.
        measure: what the estimates are, with their unit.
        intervals: how their intervals come about.
        maps: first the one to show at the top.
        plots: figures.
    """

    title: str = "Figures"
    subject: str = ""
    what: str = ""
    headline: str = ""
    meaning: str = ""
    sentences: Sequence[str] = ()
    estimates: Sequence[Estimate] = ()
    measure: str = ""
    intervals: str = ""
    maps: Sequence[MapRow] = ()
    plots: Sequence[Plot] = field(default=())
