"""What fills the days of a series, one at a time, and the way of those that fill scenes."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from miha.files import replacing_folder
from miha.gapfill.between import Between
from miha.gapfill.filler import Filler
from miha.gapfill.made import Made, TooLittleSeen
from miha.gapfill.options import FillOptions
from miha.rasters.decoded import decode, decodings, is_worthwhile, use_decoded
from miha.rasters.opened import OpenDays, OpenScene
from miha.rasters.stac_files import item_of
from miha.rasters.stack import ReadOptions
from miha.rasters.writing import sidecars_of
from miha.training.workers import compute_all
from miha.wording import plural

WORTH_DECODING = 2  # days that are filled: each reads all others twice
RETRIES = 2  # of a day whose process died


@dataclass(frozen=True)
class Day:
    """One day to fill: its scene, or where there is none the one whose grid it gets; and where it goes."""

    when: date
    source: Path
    target: Path
    blank: bool = False

    @property
    def filled(self) -> bool:
        """True if it was filled before, with the two maps that lie beside it."""
        return all(path.exists() for path in (self.target, *sidecars_of(self.target)))

    def done(self, options: FillOptions) -> bool:
        """True if that holds, and all else is there that is to lie beside it."""
        return self.filled and (not options.stac or item_of(self.target).exists())


class DayFiller(ABC):
    """What fills the days of one history.

    Attributes:
        reading: how pixels become values.
    """

    reading: ReadOptions

    def prepare(self, scenes: Mapping[date, Path], days: Sequence[Day]) -> None:
        """What must be done once, before processes fill the first day; it may spread work over the pool.

        Args:
            scenes: all of the history.
            days: those that will be filled.
        """

    def finish(self) -> None:
        """Remove what was prepared, once all days are filled."""

    @abstractmethod
    def fill(self, day: Day, options: FillOptions) -> None:
        """Fill a day, and write it.

        Args:
            day: which.
            options: which gaps are filled.

        Raises:
            DataError: nothing tells of it.
            StorageError: it cannot be written.
        """


class SceneByScene(DayFiller):
    """Fills a day from what it shows and the others, or if it shows too little from the days around it.

    Args:
        filler: of scenes.
        folder: where the days of a history that is opened and not read are decoded, until all are filled.
    """

    def __init__(self, filler: Filler, folder: Path) -> None:
        self.filler, self.reading, self.folder = filler, filler.reading, folder

    @property
    def _opened(self) -> OpenDays | None:
        """The days of the history, if it is too large for memory."""
        values: Any = self.filler.history and self.filler.history.values
        return values if isinstance(values, OpenDays) else None

    def prepare(self, scenes: Mapping[date, Path], days: Sequence[Day]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # of a process that was killed
        opened, left = self._opened, sum(not day.filled for day in days)
        if opened is None or left < WORTH_DECODING or not is_worthwhile(opened, self.folder.parent):
            return
        with replacing_folder(self.folder) as made:
            compute_all(decode, decodings(opened, made), RETRIES, "days read")

    def finish(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def fill(self, day: Day, options: FillOptions) -> None:
        filler = self.filler
        if (opened := self._opened) is not None:
            use_decoded(opened, self.folder)
        if not day.blank:
            try:
                filler.fill(day.source, day.target, options)
                return
            except TooLittleSeen:
                pass
        made, sharing = _between(filler, day), {}
        if not day.blank:
            others = {band: filler.other(band) for band in made.sharing}
            sharing = {band: (_between(other, day), other.unseen_until(day.when)) for band, other in others.items()}
        blank = day.when if day.blank else None
        unseen = filler.unseen_until(day.when)
        filler.write(day.source, day.target, made, unseen, sharing, options, blank)


def _between(filler: Filler, day: Day) -> Made:
    history = filler.history
    assert history is not None, "a series is of a history"
    between, grid = Between(filler.others(day.when), day.when), history.grid
    why = "no scene is of it" if day.blank else "it shows too little"
    origin = f" from {plural(len(between.near), 'day')} around it, since {why}"
    if day.blank:
        return Made.nothing(between.fill, origin)
    scene = OpenScene(day.source, filler.reading, (grid.height, grid.width))
    return Made(scene.read, between.fill, origin, scene.sharing)
