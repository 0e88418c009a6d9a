"""Patterns of a history in which one day has a gap: what a series makes of that day, to judge it by."""

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from rasterio.transform import from_origin

from miha.events import unobserved
from miha.gapfill.dayfiller import Day
from miha.gapfill.eof.filler import EofFiller
from miha.gapfill.process import Posterior
from miha.rasters.stack import Image, ReadOptions, Stack
from miha.rasters.suspect import undeclared_codes


def write_days(history: Stack, folder: Path) -> ReadOptions:
    """Write the days of a history as plain rasters of values; returns how to read them.

    Raises:
        StorageError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    codes = set[float]()
    for when, values in zip(history.dates, history.values, strict=True):
        _write(folder / _name(when), values)
        codes |= {*undeclared_codes(values)}  # which were asked about, and declared, when the history was read
    return ReadOptions(observed=tuple(sorted(codes)))


def fill_by_patterns(days: Path, reading: ReadOptions, when: date, scene: Image, causal: bool = False) -> Posterior:
    """Fill one day by patterns of a history in which it has a gap, as ``miha fill --dates --method eof`` does.

    Args:
        days: what :func:`write_days` wrote.
        reading: what it returned.
        when: the day.
        scene: (height, width), NaN in the gap; it takes the place of that day.
        causal: only days before it tell of it.
    """
    with TemporaryDirectory() as folder, unobserved():
        history = Path(folder) / "data" / "history"
        history.mkdir(parents=True)
        scenes = {}
        for path in sorted(days.glob("*.tif")):
            scenes[date.fromisoformat(path.stem)] = history / path.name
            if path.name != _name(when):
                (history / path.name).symlink_to(path)
        _write(history / _name(when), scene)
        filler = EofFiller(history.parent, Path(folder) / "out", reading, causal)
        day = Day(when, scenes[when], Path(folder) / "out" / _name(when))
        filler.prepare(scenes, [day])
        return filler.predict(day)


def _name(when: date) -> str:
    return f"{when.isoformat()}.tif"


def _write(path: Path, values: Image) -> None:
    height, width = values.shape
    place = from_origin(0, 0, 10, 10)  # any one will do
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "float32", "transform": place}
    with rasterio.open(path, "w", **profile, nodata=np.nan) as raster:
        raster.write(values, 1)
