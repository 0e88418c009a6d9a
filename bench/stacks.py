"""Simulated stacks of any size: years of days with seasons in them, and scenes of many million pixels.

A stack larger than TILE is that tile, mirrored over and over, each pixel with noise of its own: it is written in
seconds, and its borders join.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.windows import Window

from miha.files import replacing_folder
from miha.rasters.scene import SIMULATED_TAG
from miha.rasters.simulate import cloud_mask, field
from miha.rasters.window import Image

TILE = 1000  # pixels a side
HELD_OUT = date(2021, 7, 1)
SCALE, NODATA = 0.02, 0  # stored as uint16
BLOCK = 512  # pixels a side, of the blocks of a file
GAP = 0.4  # of the held-out scene
WARM_UP, FAR = 14, 100_000  # days before the first, and a number that makes all days' positive


def stack(folder: Path, days: int, side: int, seed: int = 0) -> Path:
    """A data set of ``days`` days of ``side`` x ``side`` pixels, made unless it is there; returns its folder.

    Each pixel has a level, a season of its own strength and phase (beyond that of the scene), a contrast that is strong
    on sunny days, weather that is correlated in space and from day to day, and noise. The day in the middle is held
    out: ``truth/`` has it, ``gapped/`` with a cloud over GAP of it. Each day is nearly the same in
    stacks of any length.
    """
    if folder.is_dir():
        return folder
    rng = np.random.default_rng(seed)
    small = (min(side, TILE),) * 2
    terrain, amplitude, phase, contrast = (field(small, slope, rng) for slope in (2.6, 2.4, 2.8, 2.2))
    with replacing_folder(folder) as made:
        _write(made / "static" / "elevation.tif", 600 + 350 * terrain, side, np.random.default_rng([seed, 0]), 0)
        weather = np.zeros(small, np.float32)
        for number in range(-(days // 2) - WARM_UP, days - days // 2 + 1):
            when, turn = HELD_OUT + timedelta(days=number), 2 * np.pi * number / 365.25
            rng = np.random.default_rng([seed, number + FAR])
            weather = 0.7 * weather + 0.7 * field(small, 2.8, rng)
            if number < -(days // 2):
                continue
            season = 295 + 9 * np.sin(turn) + 1.5 * amplitude * np.sin(turn) + phase * np.cos(turn)
            values = season - 2 * terrain + rng.uniform(0.3, 1.3) * 2 * contrast + 1.2 * weather
            values = (values + 1.5 * rng.standard_normal()).astype(np.float32)
            cover = GAP if number == 0 else float(rng.beta(0.6, 1.1))
            hidden = np.where(cloud_mask(small, cover, rng), np.float32(np.nan), values)
            noise, name = np.random.default_rng([seed, number + FAR, 1]), f"{when:%Y%m%d}.tif"
            if number == 0:
                state = noise.bit_generator.state
                _write(made / "truth" / name, values, side, noise)
                noise.bit_generator.state = state
            _write(made / ("gapped" if number == 0 else "history") / name, hidden, side, noise)
    return folder


def _write(path: Path, values: Image, side: int, rng: np.random.Generator, noise: float = 0.25) -> None:
    """Write a layer, block by block; temperatures as scaled integers, 0 where there is no observation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "uint16", "nodata": NODATA}
    profile |= {"crs": "EPSG:32630", "transform": from_origin(400_000, 4_400_000, 1000, 1000), "compress": "deflate"}
    if side > BLOCK:
        profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "zlevel": 1}
    with rasterio.open(path, "w", **profile) as raster:
        for top in range(0, side, BLOCK):
            rows = np.arange(top, min(top + BLOCK, side))
            band = values[np.ix_(_mirrored(rows, len(values)), _mirrored(np.arange(side), len(values)))]
            band = band + noise * rng.standard_normal(band.shape, np.float32)
            stored = np.nan_to_num(np.rint(band / SCALE), nan=NODATA).clip(0, 65535).astype(np.uint16)
            raster.write(stored, 1, window=Window(0, top, side, len(rows)))
        raster.scales, raster.units = (SCALE,), ("K",)
        raster.update_tags(**{SIMULATED_TAG: "bench"})


def _mirrored(numbers: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Numbers of pixels → those of a tile of ``size`` that is mirrored at its ends."""
    inside = numbers % (2 * size)
    return np.where(inside < size, inside, 2 * size - 1 - inside)
