"""Windows of a stack that is opened and not read: scenes by themselves, to learn from and to judge by."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.days import MIN_CLEAR, paste_gap
from miha.gapfill.encoding import Normalisation
from miha.gapfill.gaps import Gaps
from miha.gapfill.guess import WHOLE, Window
from miha.gapfill.history import Choice, apart
from miha.gapfill.predictors import Background, Static, StaticFiles
from miha.gapfill.view import Opened
from miha.rasters.opened import OpenDays, OpenScene
from miha.rasters.stack import Image, Mask, Stack

SIDE = 256  # pixels a side
READ = 120  # days of a longer history that are read for a window
THINNED = 2000  # pixels by which these are chosen
MASKS = 24  # days whose clouds are pasted
TRIES = 10  # places that are looked at for a clear one


@dataclass(frozen=True)
class Practice:
    """A scene with a gap whose truth is known, and what predicts it.

    Attributes:
        scene: (height, width), NaN in the gaps.
        truth: the same without the gap.
        background: the other days.
        static: layers that do not change.
        normalisation: if not that of the background: of an excerpt, that of the whole scene.
        where: of an excerpt, its place in the whole scene.
    """

    scene: Image
    truth: Image
    background: Background
    static: Static
    normalisation: Normalisation | None = None
    where: Window = WHOLE

    @property
    def hidden(self) -> Mask:
        """True inside the gap, where the truth is known."""
        return np.isnan(self.scene) & ~np.isnan(self.truth)


def pasted_excerpt(
    history: Stack,
    others: Stack,
    when: date,
    static: StaticFiles,
    fraction: float,
    rng: np.random.Generator,
    side: int,
) -> Practice:
    """A gap pasted where a day is clear, around a random place.

    Args:
        history: has the day.
        others: the days that may predict it, and whose clouds are pasted; the day itself is left out.
        when: the day.
        static: layers that do not change.
        fraction: of the window, about, that the gap covers.
        rng: draws place and gap.
        side: of the window, pixels.
    """
    days: Any = history.values
    number, others = history.dates.index(when), others.without(when)
    source, shown = days.scenes[number], days.sampled[number].copy()
    where = _clear_window(source, days.pixels[~np.isnan(shown)], side, rng)
    truth = source[where]
    drawn = np.sort(rng.permutation(len(others))[:MASKS])
    scene = paste_gap(truth, Gaps.of(others.only(drawn.tolist()).values[:, *where]), fraction, rng)
    shown[_inside(days.pixels, source.shape, where, np.isnan(scene))] = np.nan
    return excerpt(source, scene, truth, shown, others, when, where, static)


def excerpt(
    source: OpenScene,
    scene: Image,
    truth: Image,
    shown: NDArray[np.float32],
    others: Stack,
    when: date,
    where: Window,
    static: StaticFiles,
) -> Practice:
    """A window by itself. Offsets of days, and which days and patterns predict it, come of the whole scene.

    Args:
        source: the whole scene.
        scene: the window, NaN in the gaps.
        truth: the same without the gap.
        shown: what the whole scene shows at the pixels that stand for it, NaN in the gaps.
        others: the days that may predict it.
        when: the day of the scene.
        where: the window.
        static: layers that do not change.
    """
    view = Opened(source, _chosen(others, when, shown), when, static, shown)
    around = view.tile(where).around
    return Practice(scene, truth, around.background, around.static, Normalisation.of(view.at_sample), where)


def window_at(pixel: int, shape: tuple[int, int], side: int) -> Window:
    """A window of at most ``side`` pixels a side around a pixel, by its flat index in scenes of a shape."""
    starts = [
        int(np.clip(place - side // 2, 0, max(0, size - side)))
        for place, size in zip(divmod(pixel, shape[1]), shape, strict=True)
    ]
    rows, columns = (slice(start, min(start + side, size)) for start, size in zip(starts, shape, strict=True))
    return rows, columns


def _clear_window(source: OpenScene, visible: NDArray[np.int64], side: int, rng: np.random.Generator) -> Window:
    """A window around a visible pixel that shows MIN_CLEAR of its pixels, or the clearest of a few."""
    looked: list[tuple[float, Window]] = []
    for pixel in rng.choice(visible, TRIES):
        where = window_at(int(pixel), source.shape, side)
        looked.append((float((~np.isnan(source[where])).mean()), where))
        if looked[-1][0] >= MIN_CLEAR:
            break
    return max(looked, key=lambda one: one[0])[1]


def _inside(pixels: NDArray[np.int64], shape: tuple[int, int], where: Window, mask: Mask) -> NDArray[np.bool_]:
    """Which of some pixels of a scene, by their flat indices, lie where a mask of a window is True."""
    rows, columns = np.divmod(pixels, shape[1])
    rows, columns = rows - where[0].start, columns - where[1].start
    inside: Mask = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    inside[inside] = mask[rows[inside], columns[inside]]
    return inside


def _chosen(others: Stack, when: date, shown: NDArray[np.float32]) -> Stack:
    """At most READ days: those that predict the scene, and of the rest as many, evenly spread over time."""
    if len(others) <= READ:
        return others
    days: Any = others.values
    assert isinstance(days, OpenDays), "opened, not read"
    few = slice(None, None, max(1, len(days.pixels) // THINNED))
    background = Background.of(days.sampled[:, None, few])
    choice = Choice.fit(background.anomalies[:, 0], shown[few] - background.level[0], apart(others.dates, when))
    spread = np.linspace(0, len(choice.rest) - 1, READ - len(choice.kept)).round().astype(np.int64)
    return others.only(np.union1d(choice.kept, choice.rest[spread]).tolist())
