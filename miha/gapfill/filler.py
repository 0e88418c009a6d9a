"""Filling the gaps of scenes, one at a time: what all fillers share, and the one that needs no training."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import date
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import cast

import numpy as np

from miha.errors import DataError
from miha.events import Counted, Message, publish
from miha.gapfill.base import Base, fill_base
from miha.gapfill.companions import beside
from miha.gapfill.days import MIN_VISIBLE, warn_if_few
from miha.gapfill.guess import Window
from miha.gapfill.history import apart, bounded, weighed
from miha.gapfill.made import Made, NeverSeen, Sharing, TooLittleSeen, write_made
from miha.gapfill.options import FillOptions
from miha.gapfill.predictors import Background, Static, StaticFiles
from miha.gapfill.problem import GapFill
from miha.gapfill.process import Posterior
from miha.gapfill.view import Arrays, Opened, View
from miha.rasters.opened import OpenDays, OpenScene
from miha.rasters.scene import sample_scene
from miha.rasters.seen import FirstSeen
from miha.rasters.stac_files import check_replaceable
from miha.rasters.stack import IN_MEMORY, Image, ReadOptions, Scene, Stack, misfit, read_date, read_scene
from miha.rasters.writing import plan_fills
from miha.threads import fixed_threads
from miha.wording import plural


class Filler(ABC):
    """What fills scenes of one data set, in float32 and on one thread.

    Attributes:
        data: the data set, if there is one.
        reading: how pixels become values.
        history: the other days; None where there are none, and each scene is filled from itself alone.
        unit: of the values.
        seed: of all that is drawn.
        causal: only days before a scene's own fill it.
        opened: the history is opened and not read, since it is too large for memory.
        max_std: standard deviation above which a pixel stays empty, unless options say otherwise.
    """

    least_days = 0  # beside the scene's own
    max_std: float | None = None

    def __init__(
        self, data: Path | str | None, reading: ReadOptions, history: Stack | None, unit: str, seed: int, causal: bool
    ) -> None:
        self.data = None if data is None else Path(data)
        self.reading, self.history, self.unit, self.seed = reading, history, unit, seed
        self.causal, self._first_seen = causal, FirstSeen(history.values) if history else None
        self.opened = history is not None and isinstance(history.values, OpenDays)
        self._others: dict[int, BaseFiller] = {}  # of bands that share a mask with the one to fill
        self._scenes: dict[Path, Scene] = {}  # read by plan, not filled yet
        self._backgrounds: dict[date, Background] = {}  # of the latest day: scenes of one day share it

    @cached_property
    @abstractmethod
    def static(self) -> Static | None:
        """Layers that do not change, in memory."""

    @abstractmethod
    def predict(self, scene: Image, background: Background) -> Posterior:
        """The scene at every pixel (height, width; NaN in the gaps), in the data's unit, and how sure it is there."""

    def read(self, path: Path) -> Scene:
        """Read a scene to fill, the way the history was read.

        Raises:
            DataError: unreadable, on another grid than the history, with codes that nobody declared, or without enough
                valid pixels.
        """
        return self._checked(read_scene(path, self.reading))

    def _checked(self, scene: Scene) -> Scene:
        path = scene.path
        if self.history and (difference := self.history.grid.difference(scene.grid)):
            raise DataError(f"{path} does not fit the history: {difference}. Bring it to that grid (gdalwarp).")
        scene.check_codes(self.reading)
        if self.history and (reason := misfit(scene, self.history.level, self.reading)):
            publish(Message(f"filled all the same: {reason}"))
        if (~scene.gaps).sum() < MIN_VISIBLE:
            raise TooLittleSeen(
                f"{path} has {(~scene.gaps).sum()} valid pixels; at least {MIN_VISIBLE} are needed to fill it."
            )
        return scene

    def background(self, scene: Scene) -> Background:
        """The history without the scene's own day; none if there is no other day.

        Raises:
            DataError: no date, or too few other days.
        """
        if self.history is None:
            return Background.none(scene.values)
        when = self._date(scene.path)
        assert when is not None, "scenes of a history have dates"
        if not len(others := self.others(when)):
            return Background.none(scene.values)
        days_apart = apart(others.dates, when)
        if when not in self._backgrounds:
            self._backgrounds = {when: weighed(Background.of(np.asarray(others.values)), days_apart)}
        return beside(bounded(self._backgrounds[when], scene.values, days_apart), others.companions, when)

    def _date(self, path: Path) -> date | None:
        """The day of a scene, once there are enough others."""
        if self.history is None:
            return None
        when = read_date(path, self.reading.date_pattern)
        others = sum(day < when if self.causal else day != when for day in self.history.dates)
        if others < self.least_days:
            raise DataError(
                f"the history has {plural(others, 'day')} beside {when}; a network needs at least {self.least_days}. "
                "Fill without a model, or add days."
            )
        return when

    def plan(self, sources: Sequence[Path], out: Path, options: FillOptions = FillOptions()) -> dict[Path, Path]:
        """Input → output of several fills; checks everything that can be checked before the first is filled.

        The scenes that were read for it are kept until they are filled, as many as fit into memory together.

        Raises:
            DataError: a scene that cannot be used, files that would overwrite each other, or a file that MIHA did not
                write in the place of an item.
        """
        for source in sources:
            self._scenes.pop(source, None)
            scene = self.look(source)
            self._date(source)
            if sum(kept.values.size for kept in (scene, *self._scenes.values())) <= IN_MEMORY:
                self._scenes[source] = scene
        if self.history:
            warn_if_few(len(self.history))
        options.check(sources, self.reading)
        targets = plan_fills(sources, out)
        if options.stac:
            check_replaceable(targets.values())
        return targets

    @fixed_threads(1)
    def fill(self, source: Path, target: Path, options: FillOptions = FillOptions()) -> Path:
        """Fill one raster; returns the file written.

        Of bands that one mask or alpha band hides all are filled, by the base; other bands stay as they are.

        Args:
            source: the scene.
            target: where it goes, filled.
            options: which gaps are filled.

        Raises:
            DataError: the scene cannot be used.
            StorageError: it cannot be written.
        """
        scene = self._scenes.pop(source, None) or self.look(source)
        others = {band: self.other(band) for band in scene.sharing}
        sharing = {band: (other._make(other.look(source)), other.never_seen(source)) for band, other in others.items()}
        self.write(source, target, self._make(scene), self.never_seen(source), sharing, options)
        return target

    def write(
        self,
        source: Path,
        target: Path,
        made: Made,
        never_seen: NeverSeen,
        sharing: Sharing,
        options: FillOptions,
        blank: date | None = None,
    ) -> None:
        """Write what becomes of a scene, and tell of it: :func:`miha.gapfill.made.write_made`."""
        if options.max_std is None:
            options = options.model_copy(update={"max_std": self.max_std})
        message = write_made(made, source, target, self.reading, never_seen, sharing, options, blank)
        publish(Message(message))

    def other(self, band: int) -> "BaseFiller":
        """What fills another band of the scenes: the base."""
        if band not in self._others:
            self._others[band] = BaseFiller(self.data, self.reading.model_copy(update={"band": band}), self.causal)
        return self._others[band]

    def others(self, when: date) -> Stack:
        """The days that may fill one: all but itself, or only those before it."""
        assert self.history is not None, "asked where there is one"
        return self.history.before(when) if self.causal else self.history.without(when)

    def look(self, path: Path) -> Scene:
        """A scene to fill; if the history is opened, the pixels that stand for it."""
        if not self.opened:
            return self.read(path)
        assert self.history is not None, "opened"
        return self._checked(sample_scene(path, self.reading, cast("OpenDays", self.history.values).pixels))

    def _make(self, scene: Scene) -> Made:
        """What becomes of a scene."""
        if not self.opened:
            return self._make_in_memory(scene)
        when = self._date(scene.path)
        assert when is not None, "scenes of a history have dates"
        others = self.others(when)
        if not len(others):
            return self._make_in_memory(self.read(scene.path))
        file = OpenScene(scene.path, self.reading, (scene.grid.height, scene.grid.width))
        return Made(file.read, self._fill(Opened(file, others, when, self.static_files)))

    def _make_in_memory(self, scene: Scene) -> Made:
        """What becomes of a scene that is all in memory, and so are the others."""
        return Made.whole(scene, self.predict(scene.values, self.background(scene)))

    @abstractmethod
    def _fill(self, view: View) -> Callable[[Window], Posterior]:
        """The fill of any window of a view, fitted once it is asked."""

    @cached_property
    def static_files(self) -> StaticFiles:
        """Layers that do not change, opened and not read."""
        assert self.data is not None, "a history is of a data set"
        assert self.history is not None, "the same"
        return StaticFiles(self.data / "static", self.history.grid)

    def never_seen(self, path: Path) -> NeverSeen:
        """Where no day shows anything, and none before a scene's own if days after it are not to be known."""
        return self.unseen_until(read_date(path, self.reading.date_pattern) if self.causal else None)

    def unseen_until(self, when: date | None) -> NeverSeen:
        """Where in a window no day until ``when`` shows anything; None: no day at all."""
        if (history := self.history) is None or (first := self._first_seen) is None:
            return lambda where: np.zeros((1, 1), bool)
        until = bisect_right(history.dates, when) if self.causal and when else len(history)
        return lambda where: first.unseen(where, until)

    def fill_all(
        self, sources: Sequence[Path | str], out: Path | str, options: FillOptions = FillOptions()
    ) -> list[Path]:
        """Fill several rasters into a folder, each by itself and under its own name, after checking all of them."""
        plan, filled = self.plan([Path(source) for source in sources], Path(out), options), list[Path]()
        for number, (source, target) in enumerate(plan.items(), start=1):
            filled.append(self.fill(source, target, options))
            publish(Counted("scenes", number, len(plan)))
        return filled


class BaseFiller(Filler):
    """Fills with the base, which needs no training.

    Args:
        data: the data set, of which ``history/`` and ``static/`` are read; None: each scene is filled from itself.
        reading: how pixels become values.

    Raises:
        DataError: the data set cannot be used.
    """

    def __init__(
        self, data: Path | str | None = None, reading: ReadOptions = ReadOptions(), causal: bool = False
    ) -> None:
        # scikit-learn takes a second to import: while scenes are read and the Gaussian process computes
        Thread(target=import_module, args=("sklearn.ensemble",), daemon=True).start()
        problem = GapFill(data=Path(data), **reading.model_dump()) if data else None
        history = problem.history() if problem else None
        super().__init__(data, reading, history, history.unit if history else "", seed=0, causal=causal)
        self.problem = problem

    @cached_property
    def static(self) -> Static | None:
        return self.problem.static() if self.problem else None

    def _make_in_memory(self, scene: Scene) -> Made:
        background = self.background(scene)
        if background.is_empty:
            return Made.whole(scene, self.predict(scene.values, background))
        view = Arrays(scene.values, background, self.static or Static.none(scene.values.shape))
        return Made(lambda where: (scene.values[where], scene.kept[where]), self._fill(view))

    def _fill(self, view: View) -> Callable[[Window], Posterior]:
        base = cache(lambda: Base(view, self.seed))
        return lambda where: base().fill(where)

    def predict(self, scene: Image, background: Background) -> Posterior:
        return fill_base(scene, background, self.static or Static.none(scene.shape), self.seed)
