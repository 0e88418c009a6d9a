"""What else was seen on a scene's own day: by another overpass or sensor, as ``companions/NAME/history/`` has it.

A companion has the grid of the scenes, a unit and gaps of its own. What it shows of a day, less what it shows there
over its other days, predicts the scene as one more day does.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from miha.errors import DataError
from miha.events import Message, publish
from miha.gapfill.predictors import Background
from miha.rasters.opened import OpenDays
from miha.rasters.stack import Image, ReadOptions, Stack, list_rasters, read_stack

COMPANIONS = "companions"  # folder of a data set
WEIGHT = 8.0  # of a companion that shows the whole scene; that of other days is 1 in the mean
LEAST_DAYS = 3  # of a companion beside that of the scene: fewer do not tell what is usual


def companion_files(data: Path) -> list[Path]:
    """The rasters of all companions of a data set.

    Raises:
        DataError: a companion without ``history/``, or with nothing in it.
    """
    return [path for folder in _folders(data) for path in list_rasters(folder)]


def with_companions(history: Stack, data: Path, date_pattern: str | None) -> Stack:
    """A history with the companions of its data set; without them, and a message, if either is too large for memory.

    Raises:
        DataError: a companion that cannot be read, or is of another grid.
    """
    options = ReadOptions() if date_pattern is None else ReadOptions(date_pattern=date_pattern)
    companions = {folder: read_stack(folder, options) for folder in _folders(data)}
    for folder, one in companions.items():
        if difference := history.grid.difference(one.grid):
            raise DataError(f"{folder} does not fit the history: {difference}. Bring it to that grid (gdalwarp).")
    if any(isinstance(one.values, OpenDays) for one in (history, *companions.values())):
        if companions:
            publish(Message(f"{data / COMPANIONS} is not used: it or the history is too large for memory"))
        return history
    return replace(history, companions=tuple(companions.values()))


def _folders(data: Path) -> list[Path]:
    folders = sorted(path for path in (data / COMPANIONS).glob("*") if path.is_dir())
    for folder in folders:
        if not (folder / "history").is_dir():
            raise DataError(f"{folder} has no history/. Put the rasters of that companion there.")
    return [folder / "history" for folder in folders]


def beside(background: Background, companions: Sequence[Stack], when: date) -> Background:
    """The background with what each companion shows of a day, as of one more day.

    Args:
        background: the other days of a scene, at least one.
        companions: of its history.
        when: the day of the scene.
    """
    shown = [one for companion in companions if (one := _departure(companion, when)) is not None]
    if not shown:
        return background
    unit = np.nanstd(background.anomalies) or 1.0
    anomalies = np.concatenate([background.anomalies, np.stack(shown) * np.float32(unit)])
    offsets = np.concatenate([background.offsets, np.zeros(len(shown), np.float32)])
    weights = np.concatenate([background.weights, WEIGHT * (~np.isnan(shown)).mean(axis=(1, 2), dtype=np.float32)])
    return Background(background.level, offsets, anomalies, np.asarray(weights / weights.mean(), np.float32))


def _departure(companion: Stack, when: date) -> Image | None:
    """What a companion shows of a day less its level on other days, in deviations of these; None if nothing."""
    others = companion.without(when)
    if when not in companion.dates or len(others) < LEAST_DAYS:
        return None
    usual = Background.of(others.values)
    departure = companion.values[companion.dates.index(when)] - usual.level
    return np.asarray((departure - np.nanmean(departure)) / (np.nanstd(usual.anomalies) or 1.0), np.float32)
