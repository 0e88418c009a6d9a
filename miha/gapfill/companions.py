"""What else was seen on a scene's own day: by another overpass or sensor, as ``companions/NAME/history/`` has it.

A companion has the grid of the scenes, a unit and gaps of its own; its first band counts. What it shows of a day, less
its level on other days, predicts the scene as one more day does.
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
from miha.wording import plural

COMPANIONS = "companions"  # folder of a data set
WEIGHT = 8.0  # of a companion that shows the whole scene; that of other days is 1 in the mean
LEAST_DAYS = 3  # of a companion beside that of the scene: fewer do not tell what is usual


def companion_folders(data: Path) -> list[Path]:
    """The folders with the rasters of each companion of a data set, by name."""
    return sorted(path for path in (data / COMPANIONS).glob("[!.]*/history") if path.is_dir())


def companion_files(data: Path) -> list[Path]:
    """The rasters of all companions of a data set.

    Raises:
        DataError: a companion without any.
    """
    return [path for folder in companion_folders(data) for path in list_rasters(folder)]


def with_companions(history: Stack, data: Path, reading: ReadOptions) -> Stack:
    """A history with the companions of its data set, and messages about what in ``companions/`` is none.

    Args:
        history: of the data set.
        data: the data set.
        reading: how the history was read; numbers that stand for missing pixels, dates and strictness are the same.

    Raises:
        DataError: a companion that cannot be read, or is of another grid.
    """
    for path in sorted((data / COMPANIONS).glob("[!.]*")):
        if not (path / "history").is_dir():
            publish(Message(f"{path} is not used: a companion is a folder with rasters in its history/"))
    if not (folders := companion_folders(data)):
        return history
    if isinstance(history.values, OpenDays):
        publish(Message(f"{data / COMPANIONS} is not used: the history is too large for memory"))
        return history
    companions = [_read(folder, history, reading) for folder in folders]
    return replace(history, companions=tuple(one for one in companions if one is not None))


def _read(folder: Path, history: Stack, reading: ReadOptions) -> Stack | None:
    shared = {name: getattr(reading, name) for name in ("nodata", "observed", "date_pattern", "strict")}
    companion = read_stack(folder, ReadOptions(**shared))
    own, grid = replace(companion.grid, bands=history.grid.bands), history.grid
    if difference := grid.difference(own):
        raise DataError(f"{folder} does not fit the history: {difference}. Bring it to that grid (gdalwarp).")
    why = ""
    if isinstance(companion.values, OpenDays):
        why = "it is too large for memory"
    elif len(companion) <= LEAST_DAYS:
        why = f"it has {plural(len(companion), 'day')}, and at least {LEAST_DAYS + 1} tell what is usual"
    elif not {*companion.dates} & {*history.dates}:
        why = "it shows no day of the history"
    if why:
        publish(Message(f"{folder} is not used: {why}"))
    return None if why else companion


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
