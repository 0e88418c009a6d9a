"""Filling the days of a history from its patterns, the days around each, and the pixels around its gaps."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miha.errors import DataError
from miha.events import Message, publish
from miha.files import remove_unfinished
from miha.gapfill.dayfiller import Day, DayFiller
from miha.gapfill.eof.fit import FIRST, FITTED_STACK, NEVER, FittedStack, fit_stack, model_folder
from miha.gapfill.eof.model import Model
from miha.gapfill.eof.spread import REACH, Cells, spread_out
from miha.gapfill.guess import Window
from miha.gapfill.made import Made, NeverSeen, write_made
from miha.gapfill.options import FillOptions
from miha.gapfill.process import Posterior
from miha.rasters.opened import OpenScene
from miha.rasters.stack import Image, ReadOptions
from miha.rasters.window import grown_window, opened, sharing_bands
from miha.threads import fixed_threads

FOLDER = ".eof"  # in that of the filled days
PART = 2_000_000  # pixels that are filled at once
SIDE = 512  # rows, and multiples of it columns, of such a part; a multiple of STEP
REMEMBERED = 10  # days of whose last part it is known what patterns leave
SURE_BITS = 12  # of the 24 of a deviation: the rest is no knowledge, and does not compress


class EofFiller(DayFiller):
    """Fills the days of a history by its empirical orthogonal functions.

    Args:
        data: the data set, of which ``history/`` is read.
        out: folder for the filled days; what is fitted lies in it until all of them are.
        reading: how pixels become values.
        causal: only days before a day fill it.
    """

    def __init__(self, data: Path, out: Path, reading: ReadOptions, causal: bool) -> None:
        self.data, self.folder, self.reading, self.causal = data, out / FOLDER, reading, causal
        self._bands: dict[int, tuple[int, _Band]] = {}

    def prepare(self, scenes: Mapping[date, Path], days: Sequence[Day]) -> None:
        remove_unfinished(self.folder)
        wanted, sharing = [day.when for day in days], tuple[int, ...]()
        for path in scenes.values():
            try:
                with opened(path, self.reading) as raster:
                    sharing = sharing_bands(raster, self.reading)
                break
            except DataError:
                continue  # read_stack will tell of it
        for band in (self.reading.band, *sharing):
            reading = self.reading.model_copy(update={"band": band})
            fit_stack(self.data, self.folder / f"band{band}", reading, scenes, wanted, self.causal)

    def finish(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @fixed_threads(1)
    def fill(self, day: Day, options: FillOptions) -> None:
        made, unseen = self._band(self.reading.band).made(day)
        sharing = {band: self._band(band).made(day) for band in made.sharing}
        blank = day.when if day.blank else None
        message = write_made(made, day.source, day.target, self.reading, unseen, sharing, options, blank)
        publish(Message(message))

    @fixed_threads(1)
    def predict(self, day: Day) -> Posterior:
        """Mean and deviation of all pixels of a day (height, width); nothing is written.

        Raises:
            DataError: nothing tells of it.
        """
        band = self._band(self.reading.band)
        made, _ = band.made(day)
        height, width = band.shape
        return made.fill((slice(0, height), slice(0, width)))

    def _band(self, band: int) -> "_Band":
        folder = self.folder / f"band{band}"
        stamp = (folder / FITTED_STACK).stat().st_mtime_ns  # a long-lived process may have opened an earlier fit
        if band not in self._bands or self._bands[band][0] != stamp:
            self._bands[band] = stamp, _Band(folder, self.reading.model_copy(update={"band": band}), self.causal)
        return self._bands[band][1]


class _Band:
    """One band of the scenes, once it is fitted."""

    def __init__(self, folder: Path, reading: ReadOptions, causal: bool) -> None:
        self.folder, self.reading, self.causal = folder, reading, causal
        self.stack = FittedStack.read(folder)
        self.shape = self.stack.height, self.stack.width
        self.days = np.array(sorted(self.stack.scenes))
        self.models = [Model.open(model_folder(folder, number)) for number in range(len(self.stack.known))]
        self._left = lru_cache(maxsize=REMEMBERED)(self._leave)

    def made(self, day: Day) -> tuple[Made, NeverSeen]:
        """What becomes of a day, and where nothing was seen until it.

        Raises:
            DataError: its values lie far from those of other days; or no day before it tells of it.
        """
        number = day.when.toordinal()
        if not day.blank and (reason := self.stack.left_out.get(number)):
            raise DataError(reason)
        at = int(np.searchsorted(self.stack.known, number, side="right")) - 1
        if at < 0:
            raise DataError(f"no day until {day.when} tells what it was like. Leave it out of --dates.")
        fill = _Fill(self, self.models[at], number)
        if day.blank:
            return Made.nothing(fill.fill, " from the days around it, since no scene is of it"), self._unseen(number)
        scene = OpenScene(day.source, self.reading, self.shape)
        return Made(scene.read, fill.fill, "", scene.sharing), self._unseen(number)

    def _unseen(self, day: int) -> NeverSeen:
        last = day if self.causal else NEVER - 1
        return lambda where: np.asarray(np.load(self.folder / FIRST, mmap_mode="r")[where] > last)

    def left(self, model: Model, day: int, where: Window) -> Image:
        """What patterns leave of a day in a window; NaN in its gaps."""
        return self._left(self.models.index(model), day, *((part.start, part.stop) for part in where))

    def _leave(self, model: int, day: int, rows: tuple[int, int], columns: tuple[int, int]) -> Image:
        where = slice(*rows), slice(*columns)
        if day not in self.stack.scenes:
            return np.full((rows[1] - rows[0], columns[1] - columns[0]), np.nan, np.float32)
        values = OpenScene(self.stack.scenes[day], self.reading, self.shape)[where]
        values -= self.models[model].expected(day, where)
        return values


class _Fill:
    """One day of a band."""

    def __init__(self, band: _Band, model: Model, day: int) -> None:
        self.band, self.model, self.day = band, model, day
        self.coarse: Callable[[], NDArray[np.float32]] = cache(self._coarse)

    @cached_property
    def near(self) -> list[tuple[int, float]]:
        """Days that tell of it, and their weights."""
        found = self.model.leftover.neighbours(self.day, self.band.days, not self.band.causal)
        return [(int(self.band.days[at]), weight) for at, weight in found]

    def fill(self, where: Window) -> Posterior:
        """Mean and deviation of a window."""
        height, width = (part.stop - part.start for part in where)
        mean, std = np.empty((2, height, width), np.float32)
        for part in parts_of(where):
            there = tuple(
                slice(inner.start - outer.start, inner.stop - outer.start)
                for inner, outer in zip(part, where, strict=True)
            )
            outer, inner = grown_window(part, REACH, self.band.shape)
            rest, explained, unexplained = self._rest(outer)
            leftover = self.model.leftover
            spread = spread_out(rest, outer, self.coarse(), leftover.trust)
            mean[there] = (explained + spread.mean)[inner] + self.model.expected(self.day, part)
            std[there] = leftover.deviation(self.model.noise(outer), spread, unexplained)[inner]
        return Posterior(mean, _short(std))

    def _rest(self, where: Window) -> tuple[Image, Image, Image]:
        """What neither patterns nor days around tell of a window; what the latter tell, and their share."""
        others = ((self.band.left(self.model, day, where), weight) for day, weight in self.near)
        own = self.band.left(self.model, self.day, where)
        explained, unexplained = self.model.leftover.around(others, own.shape)
        return own - explained, explained, unexplained

    def _coarse(self) -> NDArray[np.float32]:
        cells, (height, width) = Cells(self.band.shape), self.band.shape
        for part in parts_of((slice(0, height), slice(0, width))):
            cells.add(part, self._rest(part)[0])
        return cells.spread(self.model.leftover.trust)


def parts_of(where: Window) -> Iterator[Window]:
    """Windows of at most PART pixels that cover one; the whole of it if it is no larger."""
    height, width = (part.stop - part.start for part in where)
    rows, columns = height, width
    if height * width > PART:
        rows = min(height, SIDE)
        columns = min(width, max(PART // rows // SIDE, 1) * SIDE)
    for top in range(where[0].start, where[0].stop, rows):
        for left in range(where[1].start, where[1].stop, columns):
            yield slice(top, min(top + rows, where[0].stop)), slice(left, min(left + columns, where[1].stop))


def _short(std: Image) -> Image:
    """Deviations without the last bits."""
    bits = std.view(np.uint32)
    bits &= np.uint32(0xFFFFFFFF << (24 - SURE_BITS) & 0xFFFFFFFF)
    return std
