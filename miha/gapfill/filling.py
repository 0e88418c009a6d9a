"""Filling from Python: ``miha.fill`` for rasters, ``miha.fill_array`` for arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from miha.errors import DataError
from miha.gapfill.base import fill_base
from miha.gapfill.days import MIN_VISIBLE
from miha.gapfill.history import bounded, weighed
from miha.gapfill.network_filler import open_filler
from miha.gapfill.options import FillOptions
from miha.gapfill.predictors import Background, Static
from miha.rasters.options import ReadOptions


def fill(
    scenes: Path | str | Sequence[Path | str],
    out: Path | str,
    data: Path | str | None = None,
    model: Path | str | None = None,
    *,
    everywhere: bool = False,
    max_std: float | None = None,
    area: Path | str | None = None,
    stac: bool = False,
    reading: ReadOptions = ReadOptions(),
) -> list[Path]:
    """Fill the gaps of GeoTIFFs, as ``miha fill`` does; returns the files written, each under its input's name.

    Beside each lie ``<name>_std.tif`` and ``<name>_source.tif``. Every observed pixel stays as it was.

    Args:
        scenes: one or several.
        out: folder to write to.
        data: data set whose ``history/`` and ``static/`` are used; None: each scene is filled from itself.
        model: model archive, e.g. ``run.model``, which needs ``data``; None: the base, which needs no training.
        everywhere: also pixels that no day shows.
        max_std: standard deviation above which a pixel stays empty, in the data's unit; None: what the model's run says
            (``problem.max_std``), or no limit.
        area: raster (not 0 inside) or GeoJSON of polygons; pixels outside of it stay as they are.
        stac: also write a STAC item beside each, ``<name>.json`` (extra ``stac``).
        reading: how pixels become values, where there is no model to say it.

    Raises:
        DataError: a scene or the data set cannot be used.
        ArchiveError: the model cannot be used with ``data``.
        StorageError: a file cannot be written.
    """
    paths = [Path(scenes)] if isinstance(scenes, Path | str) else [Path(scene) for scene in scenes]
    filler = open_filler(Path(model) if model else None, Path(data) if data else None, reading)
    options = FillOptions(everywhere=everywhere, max_std=max_std, area=Path(area) if area else None, stac=stac)
    return filler.fill_all(paths, Path(out), options)


class FilledArray(NamedTuple):
    """A filled scene and how sure it is; what was given as a DataArray comes back as two.

    Attributes:
        values: (height, width), float32: the scene where it was observed, else what was filled.
        std: (height, width), float32: standard deviation of what was filled, in the unit of the values; NaN elsewhere.
    """

    values: Any
    std: Any


def fill_array(scene: Any, days: Any = None, seed: int = 0, before: int | None = None) -> FilledArray:
    """Fill the gaps of a scene in memory by the base.

    Args:
        scene: (height, width), NaN in the gaps: a NumPy array, or an xarray DataArray.
        days: (days, height, width), NaN in their gaps: other days of the same pixels in the order of time, without the
            scene itself; None: the scene is filled from itself. Of more than 40 a choice predicts
            (:class:`miha.gapfill.history.Choice`).
        seed: draws trees and pixels.
        before: how many of the days lie before the scene; None: all. They are taken to be a day apart.

    Raises:
        DataError: shapes that do not fit, or too few observed pixels.
    """
    values = np.asarray(scene, np.float32)
    if values.ndim != 2:
        raise DataError(f"a scene has two axes, height and width; this one has the shape {values.shape}.")
    if (seen := int((~np.isnan(values)).sum())) < MIN_VISIBLE:
        raise DataError(f"the scene has {seen} observed pixels; at least {MIN_VISIBLE} are needed to fill it.")
    background = Background.none(values)
    if days is not None:
        others = np.asarray(days, np.float32)
        if others.ndim != 3 or others.shape[1:] != values.shape:
            height, width = values.shape
            raise DataError(f"days have the shape {others.shape}; it must be (days, {height}, {width}).")
        if len(others):
            after = np.arange(len(others)) - (len(others) if before is None else before)
            days_apart = np.where(after < 0, after, after + 1)
            background = bounded(weighed(Background.of(others), days_apart), values, days_apart)
    gaps = np.isnan(values)
    found = fill_base(values, background, Static.none(values.shape), seed)
    filled = FilledArray(np.where(gaps, found.mean, values), np.where(gaps, found.std, np.float32(np.nan)))
    if hasattr(scene, "dims"):  # a DataArray
        return FilledArray(*(scene.copy(data=part) for part in filled))
    return filled
