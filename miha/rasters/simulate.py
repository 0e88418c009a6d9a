"""A simulated stack of land surface temperature: for the demo, tests and load, and named as simulated everywhere.

Temperature of pixel p on day d is a seasonal and a daily level, a lapse with elevation and a contrast between land
covers (both stronger on sunny days), a weather field that is correlated in space and from day to day, and noise.
Nights have levels, contrasts, noise and clouds of their own, and most of the weather of their day.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin

from miha.errors import DataError
from miha.files import replacing_folder
from miha.rasters.scene import SIMULATED_TAG
from miha.rasters.verify import verify_raster
from miha.rasters.window import Image, Mask

FIRST_DAY = date(2021, 5, 1)
GAP_SIZES = (5, 10, 20, 30, 40, 50, 75, 95)  # percent of the held-out scene
SCALE, NODATA = 0.02, 0  # stored as MOD11A1 is: uint16, kelvin / 0.02
_COVERS = np.array([0.0, 1.5, -2.5, 3.5, -1.0, 5.0], np.float32)  # kelvin above the mean, by class
_PIXEL = 1000.0  # metres


def simulate(out: Path, days: int, height: int, width: int, seed: int, nights: bool = False) -> None:
    """Write a data set: ``history/`` and ``static/``, one held-out day in ``truth/`` and its gaps in ``gapped/``.

    Args:
        out: a new folder, or a former data set to replace.
        days: length of the history, at least 6.
        height: rows, at least 32.
        width: columns, at least 32.
        seed: of all random numbers; equal arguments give equal files.
        nights: also write ``companions/night/``; all other files stay the same.

    Raises:
        DataError: a number too small, or ``out`` holds something that MIHA did not write.
    """
    for name, value, least in (("days", days, 6), ("height", height, 32), ("width", width, 32), ("seed", seed, 0)):
        if value < least:
            raise DataError(f"--{name} must be at least {least} but is {value}.")
    rng = np.random.default_rng(seed)
    shape = (height, width)
    terrain = field(shape, 2.6, rng)
    elevation = (600 + 350 * terrain).clip(0).astype(np.float32)
    cover = _land_cover(terrain, rng)
    held_out = days // 2
    with replacing_folder(out) as folder:
        _write(folder / "static" / "elevation.tif", elevation, "m", seed)
        _write(folder / "static" / "landcover.tif", cover, "", seed)
        weather = field(shape, 2.8, rng)
        level = 0.0
        for number in range(days + 1):
            when = FIRST_DAY + timedelta(days=number)
            weather = 0.6 * weather + 0.8 * field(shape, 2.8, rng)
            level = 0.7 * level + 1.5 * rng.standard_normal()
            sun = rng.uniform(0.5, 1.3)
            season = 298 + 8 * np.sin(2 * np.pi * (when.timetuple().tm_yday - 110) / 365)
            values = season + level + sun * (_COVERS[cover] - 0.0065 * (elevation - 600)) + 1.2 * weather
            values = (values + 0.25 * rng.standard_normal(shape)).astype(np.float32)
            clouds = cloud_mask(shape, float(rng.beta(0.6, 1.1)), rng)
            if nights:
                night = _night(season, weather, cover, elevation, np.random.default_rng([seed, number]))
                _write(folder / "companions" / "night" / "history" / f"{when:%Y%m%d}.tif", night, "K", seed)
            if number == held_out:
                _write(folder / "truth" / f"{when:%Y%m%d}.tif", values, "K", seed)
                for size in GAP_SIZES:
                    gapped = np.where(cloud_mask(shape, size / 100, rng), np.float32(np.nan), values)
                    _write(folder / "gapped" / f"{when:%Y%m%d}_gap{size:02d}.tif", gapped, "K", seed)
            else:
                hidden = np.where(clouds, np.float32(np.nan), values)
                _write(folder / "history" / f"{when:%Y%m%d}.tif", hidden, "K", seed)


def _night(
    season: float, weather: Image, cover: NDArray[np.uint8], elevation: Image, rng: np.random.Generator
) -> Image:
    """Temperatures of the night after a day, NaN under clouds."""
    shape = weather.shape
    values = season - 12 + 1.5 * rng.standard_normal() - 0.3 * _COVERS[cover] - 0.004 * (elevation - 600)
    values = values + 0.9 * weather + 0.4 * field(shape, 2.8, rng) + 0.25 * rng.standard_normal(shape)
    return np.where(cloud_mask(shape, float(rng.beta(0.6, 1.1)), rng), np.float32(np.nan), values.astype(np.float32))


def field(shape: tuple[int, int], slope: float, rng: np.random.Generator) -> Image:
    """A Gaussian random field of zero mean and unit deviation whose power falls with frequency to the ``-slope``."""
    doubled = (2 * shape[0], 2 * shape[1])  # cut from twice the size, since the transform is periodic
    rows, columns = np.fft.fftfreq(doubled[0])[:, None], np.fft.rfftfreq(doubled[1])[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal(doubled)) * frequency ** (-slope / 2)
    values = np.fft.irfft2(spectrum, doubled)[: shape[0], : shape[1]]
    return np.asarray((values - values.mean()) / values.std(), np.float32)


def cloud_mask(shape: tuple[int, int], cover: float, rng: np.random.Generator) -> Mask:
    """Clouds over a fraction ``cover`` (0 to 1) of a scene: a rough field cut at its quantile."""
    clouds = field(shape, 3.0, rng)
    return np.asarray(clouds >= np.quantile(clouds, 1 - cover)) if cover > 0.01 else np.zeros(shape, bool)


def _land_cover(terrain: Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Six classes in patches that follow the terrain loosely."""
    patches = field(terrain.shape, 3.0, rng) + 0.5 * terrain
    return np.digitize(patches, np.quantile(patches, np.arange(1, len(_COVERS)) / len(_COVERS))).astype(np.uint8)


def _write(path: Path, values: "Image | NDArray[np.uint8]", unit: str, seed: int) -> None:
    """Write one layer; temperatures as scaled integers, 0 where there is no observation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temperature = unit == "K"
    stored = np.nan_to_num(np.rint(values / SCALE), nan=NODATA).astype(np.uint16) if temperature else values
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=values.shape[0],
        width=values.shape[1],
        dtype=stored.dtype.name,
        crs="EPSG:32630",
        transform=from_origin(400_000, 4_400_000, _PIXEL, _PIXEL),
        compress="deflate",
        nodata=NODATA if temperature else None,
    ) as raster:
        raster.write(stored, 1)
        raster.units = (unit,)
        if temperature:
            raster.scales = (SCALE,)
        raster.update_tags(**{SIMULATED_TAG: f"seed {seed}"})
    verify_raster(path)
