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
from miha.gapfill.guess import WHOLE, Window
from miha.gapfill.process import Posterior
from miha.rasters.stack import Image, ReadOptions, Stack
from miha.rasters.suspect import undeclared_codes


def fill_by_patterns(
    history: Stack, when: date, scene: Image, where: Window = WHOLE, causal: bool = False
) -> Posterior:
    """Fill one day by patterns of a history in which it has a gap, as ``miha fill --dates --method eof`` does.

    Args:
        history: the days; one at a time is in memory.
        when: the day.
        scene: (height, width), NaN in the gap; it takes the place of that day.
        where: the window of the days that it is, by which alone patterns are then found.
        causal: only days before it tell of it.

    Raises:
        StorageError: the days cannot be written beside each other as plain rasters.
    """
    with TemporaryDirectory() as folder, unobserved():
        data, scenes, codes = Path(folder) / "data", dict[date, Path](), set[float]()
        (data / "history").mkdir(parents=True)
        for number, day in enumerate(history.dates):
            values = scene if day == when else history.values[number : number + 1, *where][0]
            if np.isnan(values).all():
                continue  # a window of a day may show nothing
            scenes[day] = data / "history" / f"{day.isoformat()}.tif"
            _write(scenes[day], values)
            codes |= {*undeclared_codes(values)}  # which were asked about, and declared, when the history was read
        reading = ReadOptions(observed=tuple(sorted(codes)))
        filler = EofFiller(data, Path(folder) / "out", reading, causal)
        filled = Day(when, scenes[when], Path(folder) / "out" / scenes[when].name)
        filler.prepare(scenes, [filled])
        return filler.predict(filled)


def _write(path: Path, values: Image) -> None:
    height, width = values.shape
    place = from_origin(0, 0, 10, 10)  # any one will do
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "float32", "transform": place}
    with rasterio.open(path, "w", **profile, nodata=np.nan) as raster:
        raster.write(values, 1)
