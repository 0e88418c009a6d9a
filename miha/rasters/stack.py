"""Stacks of scenes: the days of a folder, and checking that they agree."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from html import escape
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from miha.errors import DataError
from miha.rasters.dates import read_date
from miha.rasters.grid import Grid
from miha.rasters.opened import OpenDays, OpenScene, sample_of
from miha.rasters.options import ReadOptions
from miha.rasters.scene import Scene, first_grid, list_rasters, list_scenes, quality_files, read_scene, sample_scene
from miha.rasters.suspect import Level, common_level
from miha.rasters.window import Image, Mask
from miha.wording import plural

__all__ = [  # what most of the library needs of rasters
    "Grid",
    "Image",
    "Mask",
    "ReadOptions",
    "Scene",
    "Stack",
    "first_grid",
    "list_rasters",
    "misfit",
    "quality_files",
    "read_date",
    "read_scene",
    "read_stack",
]

IN_MEMORY = 32_000_000  # values of a stack that is read as a whole, 128 MB

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stack:
    """Scenes of one grid in the order of their dates.

    ``values`` is (days, height, width): an array, or :class:`OpenDays`, which is like one, if it would be larger than
    IN_MEMORY.
    """

    values: NDArray[np.float32]
    dates: tuple[date, ...]
    grid: Grid
    unit: str
    simulated: bool = False
    level: Level | None = None  # where most days lie
    companions: tuple["Stack", ...] = ()  # of the same grid, in units of their own: what else was seen on its days

    def __len__(self) -> int:
        return len(self.dates)

    def _repr_html_(self) -> str:
        seen = 100 * float((~np.isnan(OpenDays.stand_in(self.values))).mean())
        return (
            f"<b>Stack</b> of {plural(len(self), 'day')}, {self.dates[0]} to {self.dates[-1]}: {self.grid.height} × "
            f"{self.grid.width} pixels{', ' + escape(self.unit) if self.unit else ''}, {seen:.0f} % observed"
            f"{', simulated' if self.simulated else ''}"
        )

    def only(self, days: Sequence[int]) -> "Stack":
        """The stack of some of the days, given by index."""
        chosen = sorted(days)
        return replace(self, values=self.values[chosen], dates=tuple(self.dates[day] for day in chosen))

    def before(self, when: date) -> "Stack":
        """The stack of the scenes before a date; companions until that date."""
        until = (one.only([day for day, taken in enumerate(one.dates) if taken <= when]) for one in self.companions)
        kept = self.only([day for day, taken in enumerate(self.dates) if taken < when])
        return replace(kept, companions=tuple(until))

    def without(self, when: date | None) -> "Stack":
        """The stack without the scene of one date, if it has one."""
        return self.only([day for day, taken in enumerate(self.dates) if taken != when])


def read_stack(folder: Path, options: ReadOptions = ReadOptions()) -> Stack:
    """Read all scenes of a folder and check that they agree.

    Left out with a warning: a scene without one valid pixel; one that cannot be read, and one whose values lie far from
    those of most others (scale or offset lost), unless ``options`` are strict. The first file sets the grid.

    Raises:
        DataError: an unreadable date, two scenes of one day, a grid that differs (file and difference named), numbers
            that look like undeclared codes, not one usable scene, or one that is not where options are strict.
    """
    scenes: dict[date, Scene] = {}
    unreadable: list[DataError] = []
    first: Scene | None = None
    grid, paths = first_grid(folder), list_scenes(folder, options)
    shape = grid.height, grid.width
    pixels = sample_of(shape, len(paths)) if len(paths) * grid.height * grid.width > IN_MEMORY else None
    for path in paths:
        try:
            scene = read_scene(path, options) if pixels is None else sample_scene(path, options, pixels)
        except DataError as error:
            unreadable.append(error)
            continue
        first = first or scene
        if difference := first.grid.difference(scene.grid):
            raise DataError(
                f"{path} does not fit {first.path.name}: {difference}. Bring all rasters to one grid (gdalwarp)."
            )
        when = read_date(path, options.date_pattern)
        if when in scenes:
            raise DataError(f"{path} and {scenes[when].path.name} are both of {when}. Keep one scene a day.")
        scene.check_codes(options)
        scenes[when] = scene
    if first is None or (unreadable and options.strict):
        raise unreadable[0]
    for reason in unreadable:
        _log.warning("a day is left out: %s", reason)
    levels = {when: level for when, scene in scenes.items() if (level := scene.level)}
    common = common_level(list(levels.values())) if levels else None
    usable = {when: scene for when, scene in scenes.items() if _is_usable(scene, common, options)}
    if not usable:
        raise DataError(f"no scene in {folder} has a valid pixel. Check problem.nodata and problem.clear.")
    days = sorted(usable)
    values = np.stack([usable[day].values for day in days])
    if pixels is not None:
        files = [OpenScene(usable[day].path, options, shape) for day in days]
        values = cast("NDArray[np.float32]", OpenDays(files, pixels, values[:, 0]))
    return Stack(
        values,
        tuple(days),
        first.grid,
        usable[days[0]].unit,
        any(scene.simulated for scene in usable.values()),
        common,
    )


def _is_usable(scene: Scene, common: Level | None, options: ReadOptions) -> bool:
    if scene.gaps.all():
        _log.warning("%s has no valid pixel: no other day is filled from it", scene.path)
    elif reason := misfit(scene, common, options):
        _log.warning("a day is left out: %s", reason)
    else:
        return True
    return False


def misfit(scene: Scene, common: Level | None, options: ReadOptions) -> str | None:
    """What is wrong with a scene whose values lie far from where those of most days lie, or None.

    Raises:
        DataError: the same, where options are strict.
    """
    level = scene.level
    if not (level and common and level.is_far(common)):
        return None
    lost = " It has no scale or offset, as others have." if common.scaled and not level.scaled else ""
    reason = (
        f"{scene.path} has values around {level.middle:g}, other days have such around {common.middle:g}, so its unit "
        f"is another.{lost} Repair scale and offset (gdal_edit.py -scale -offset), or remove it."
    )
    if options.strict:
        raise DataError(reason)
    return reason
