"""Filling all days of a history: which there are, one after another, and what was filled before."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import date, timedelta
from functools import lru_cache, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from miha.documents import read_document
from miha.errors import ConfigError, DataError
from miha.events import Counted, Message, Working, publish
from miha.files import digest_file, remove_unfinished, stamp_files, write_json
from miha.gapfill.companions import companion_folders
from miha.gapfill.dayfiller import Day, DayFiller, SceneByScene
from miha.gapfill.days import warn_if_few
from miha.gapfill.eof.filler import EofFiller
from miha.gapfill.network_filler import open_filler
from miha.gapfill.options import FillOptions
from miha.locking import held
from miha.rasters.scene import list_scenes
from miha.rasters.stac_files import check_replaceable
from miha.rasters.stack import ReadOptions, read_date
from miha.rasters.writing import plan_fills, target_of
from miha.training.workers import compute_all, is_transient, submit
from miha.wording import plural

RETRIES = 2  # of a day whose process died
SHORTEST_DEKAD, A_MONTH = 8, 3  # days of the last one of February; dekads in each month
IRREGULAR = 0.1  # of the steps between days, that are not about one usual step or several: no day is missing then
SETTINGS = "series.json"
UNSETTLED: Any = {**dict.fromkeys(("data", "out", "first", "last", "model", "zarr"), True), "options": {"stac"}}
DECODED = ".days"  # in the folder of the filled days
Method = Literal["base", "eof"]


class Series(BaseModel):
    """What fills the days of a history, and where to.

    Attributes:
        data: folder of the data set: history/ static/ companions/.
        out: folder for the filled scenes.
        first: day to begin with; None: the first of the history.
        last: day to end with; None: the last of the history.
        model: a model archive; None: the base fills.
        method: what fills without a model: the base, or ``eof``, patterns of the whole history, which is much faster.
        reading: how pixels become values, where there is no model to say it.
        causal: only days before a day fill it.
        options: which gaps are filled, and what is written beside a scene.
        zarr: also write one Zarr cube of all that is filled.
    """

    model_config = ConfigDict(frozen=True)

    data: Path
    out: Path
    first: date | None = None
    last: date | None = None
    model: Path | None = None
    method: Method = "base"
    reading: ReadOptions = ReadOptions()
    causal: bool = False
    options: FillOptions = FillOptions()
    zarr: bool = False

    def absolute(self) -> "Series":
        """The same for a process in any folder."""
        paths = {name: path.absolute() for name, path in self if isinstance(path, Path)}
        area = self.options.area and self.options.area.absolute()
        return self.model_copy(update={**paths, "options": self.options.model_copy(update={"area": area})})

    def filler(self) -> DayFiller:
        """What fills; a process opens it once."""
        if self.method == "eof":
            return _eof_filler(self.data, self.out, self.reading, self.causal)
        folders = [self.data / "history", self.data / "static", *companion_folders(self.data)]
        read = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
        stamp = stamp_files([*read, self.model] if self.model else read)  # of what a process that lives on read before
        return _filler(self.model, self.data, self.out, self.reading, self.causal, stamp)


class _Settings(BaseModel):
    """What ``series.json`` says of the days that were filled before."""

    model_config = ConfigDict(extra="allow")


@lru_cache(maxsize=1)
def _eof_filler(data: Path, out: Path, reading: ReadOptions, causal: bool) -> DayFiller:
    return EofFiller(data, out, reading, causal)


@lru_cache(maxsize=1)
def _filler(model: Path | None, data: Path, out: Path, reading: ReadOptions, causal: bool, stamp: str) -> DayFiller:
    return SceneByScene(open_filler(model, data, reading, causal), out / DECODED)


def read_span(text: str) -> tuple[date | None, date | None]:
    """``all``, a day, or ``FIRST/LAST`` in ISO form, both included.

    Raises:
        ConfigError: none of these.
    """
    if text == "all":
        return None, None
    first, _, last = text.partition("/")
    try:
        span = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        raise ConfigError(f"--dates: {text!r} is neither 'all' nor a span such as 2020-01-01/2020-12-31.") from None
    if span[0] > span[1]:
        raise ConfigError(f"--dates: {first} lies behind {last}.")
    return span


def days_of(series: Series) -> list[Day]:
    """The days to fill, in their order: those with a scene, and those that are missing from a regular series.

    A series is taken for regular with the usual step between its days; a gap of several steps holds missing days.

    Raises:
        DataError: no scene, a name without a date, two scenes of one day, or no day in the span.
    """
    reading, scenes = series.filler().reading, scenes_of(series)
    taken = sorted(scenes)
    warn_if_few(len(taken))
    first, last = series.first or taken[0], series.last or taken[-1]
    targets = plan_fills(list(scenes.values()), series.out)
    days = {when: Day(when, scenes[when], targets[scenes[when]]) for when in taken if first <= when <= last}
    for when in missing_days(taken):
        if first <= when <= last:
            like = scenes[min(taken, key=lambda other: abs((other - when).days))]
            days[when] = Day(when, like, target_of(Path(_named(like, when, reading)), series.out), blank=True)
    if not days:
        raise DataError(f"{series.data / 'history'} holds no day from {first} to {last}. Choose other --dates.")
    return [days[when] for when in sorted(days)]


def scenes_of(series: Series) -> dict[date, Path]:
    """The scenes of the history, by day.

    Raises:
        DataError: no scene, a name without a date, or two scenes of one day.
    """
    reading = series.filler().reading
    scenes: dict[date, Path] = {}
    for path in list_scenes(series.data / "history", reading):
        when = read_date(path, reading.date_pattern)
        if when in scenes:
            raise DataError(f"{path} and {scenes[when]} are both of {when}. Keep one scene a day.")
        scenes[when] = path
    return scenes


def missing_days(taken: Sequence[date]) -> list[date]:
    """Days that a regular series lacks between its days (sorted), at its usual step.

    Of months and dekads they are on the days of the month that recur.
    """
    if len(taken) < 3:
        return []
    steps = np.array([(after - before).days for before, after in pairwise(taken)])
    step, recurring = int(np.median(steps)), {when.day for when in taken}
    if step >= SHORTEST_DEKAD and len(recurring) <= A_MONTH and len(taken) > 2 * len(recurring):
        between = (taken[0] + timedelta(days=away) for away in range((taken[-1] - taken[0]).days))
        return [when for when in between if when.day in recurring and when not in taken]
    if (np.abs(steps - step * np.round(steps / step)) > step // 5).mean() > IRREGULAR:
        return []
    return [
        before + timedelta(days=away)
        for before, gap in zip(taken, steps, strict=False)
        for away in range(step, gap - step // 2, step)
    ]


def _named(like: Path, when: date, reading: ReadOptions) -> str:
    """The name of a scene of another day, if a date can be seen in it; else the day's."""
    own = read_date(like, reading.date_pattern)
    for form in ("%Y%m%d", "%Y-%m-%d", "%Y_%m_%d", "%Y%j"):
        if len(re.findall(re.escape(f"{own:{form}}"), like.stem)) == 1:
            return like.name.replace(f"{own:{form}}", f"{when:{form}}")
    return f"{when:%Y%m%d}{like.suffix}"


def fill_day(series: Series, day: Day) -> None:
    """Fill one day, unless a worker that died has done so.

    Raises:
        DataError: nothing tells of it.
        StorageError: it cannot be written.
    """
    if not day.filled:
        series.filler().fill(day, series.options)
    elif series.options.stac:
        from miha.rasters.stac import write_item

        write_item(day.target, day.when)


def fill_days(series: Series, days: Sequence[Day], counting: bool = True) -> dict[date, str]:
    """Fill days in this process or its pool, skipping what is done; returns why days could not be filled.

    ``counting`` tells how many are done.
    """
    failed: dict[date, str] = {}
    waiting = [(day, submit(fill_day, series, day)) for day in days if not day.done(series.options)]
    for number, (day, future) in enumerate(waiting, start=len(days) - len(waiting) + 1):
        for retry in range(RETRIES, -1, -1):
            try:
                future.result()
                break
            except DataError as error:
                failed[day.when] = str(error)
                publish(Message(f"{day.when} is left out: {error}"))
                break
            except Exception as error:
                if not retry or not is_transient(error):
                    raise
                future = submit(fill_day, series, day)
        if counting:
            publish(Counted("days", number, len(days), f"{day.when}"))
    return failed


def start(series: Series) -> list[Day]:
    """The days to fill; checks the data, and that what ``out`` holds was filled in the same way.

    Raises:
        DataError: the data set cannot be used, or ``out`` holds files in the place of a wanted catalogue.
        ConfigError: ``out`` holds a series of other settings.
    """
    days, area = days_of(series), series.options.area
    if series.zarr:
        import_module("miha.rasters.zarr_cube")  # an extra that is lacking is told of before anything is filled
    series.options.check([days[0].source], series.filler().reading)  # all are on one grid
    if series.options.stac:
        check_replaceable([day.target for day in days], collection=True)
    settings = series.model_dump(mode="json", exclude=UNSETTLED)
    settings["model"] = digest_file(series.model) if series.model else None
    settings["options"]["area"] = digest_file(area) if area else None
    settings_file = series.out / SETTINGS
    if settings_file.exists() and any(day.filled for day in days):
        former = read_document(settings_file, _Settings, ConfigError, "Choose another --out.").model_dump(mode="json")
        if former != settings:
            raise ConfigError(f"{series.out} holds days that were filled with other settings. Choose another --out.")
    remove_unfinished(series.out)
    write_json(settings_file, settings)
    collect(series)  # what lies in its folder belongs to it
    return days


def collect(series: Series) -> None:
    """Write the STAC collection of the days that are filled, if one is wanted."""
    if series.options.stac:
        from miha.rasters.stac import write_collection

        write_collection(series.out, series.data.resolve().name)


def fill_series(series: Series, pool: AbstractContextManager[None]) -> dict[date, str]:
    """Fill all days of a series that are not done yet; returns why days could not be filled.

    Every day is filled by itself, so the bits are the same for any number of processes, and after any interruption.

    Args:
        series: what fills which days, and where to.
        pool: where, e.g. ``working(2)`` in two processes.

    Raises:
        DataError: the data set cannot be used.
        ConfigError: ``out`` holds a series of other settings.
        StorageError: a day cannot be written.
    """
    with held(series.out, "choose another folder for the filled days."):
        days = start(series)
        announce(series, days)
        with pool:
            prepare(series, days)
            failed = fill_days(series, days)
            assemble(series)
        finish(series)
        return failed


def assemble(series: Series) -> None:
    """Write the Zarr cube of what is filled, if one is wanted, in this process or its pool."""
    if series.zarr:
        from miha.rasters.zarr_cube import write_cube

        publish(Working("the cube is written"))
        if path := write_cube(
            series.out, series.filler().reading, partial(compute_all, retries=RETRIES, work="blocks")
        ):
            publish(Message(f"{path}: value, std and source"))


def finish(series: Series) -> None:
    """Remove what is not needed once days are filled, also what a process that died left half written."""
    series.filler().finish()
    remove_unfinished(series.out)
    collect(series)


def prepare(series: Series, days: Sequence[Day]) -> None:
    """Do what must be done once before days are filled, unless all of them are."""
    if not all(day.filled for day in days):
        series.filler().prepare(scenes_of(series), days)


def announce(series: Series, days: Sequence[Day]) -> None:
    """Say what is to be done."""
    done, blank = sum(day.done(series.options) for day in days), sum(day.blank for day in days)
    missing = f", {blank} of them without a scene" if blank else ""
    before = f"; {done} are done" if done else ""
    publish(
        Message(f"{plural(len(days), 'day')} from {days[0].when} to {days[-1].when}{missing} → {series.out}{before}")
    )
