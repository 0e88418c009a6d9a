"""Tiny downloads as archives deliver them: names, types, scales and bits as documented, contents simulated."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from scipy.io import netcdf_file

from miha.rasters.simulate import cloud_mask, field

FIRST = date(2020, 7, 3)  # day 185 of the year
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"


def raster(path: Path, values, *, crs="EPSG:32630", transform=None, nodata=None, driver="GTiff", **options) -> Path:
    """One raster of one band."""
    values = np.asarray(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": driver, "count": 1, "height": values.shape[0], "width": values.shape[1], "crs": crs}
    profile |= {"dtype": values.dtype.name, "nodata": nodata, "transform": transform or from_origin(0, 0, 30, 30)}
    with rasterio.open(path, "w", **profile, **options) as output:
        output.write(values, 1)
    return path


def mod11a1(folder: Path, days: int = 8, size: int = 48, seed: int = 0, clouds: float | None = None) -> Path:
    """MOD11A1 as AppEEARS delivers it: uint16 LST x 0.02 K, QC_Day by bits; fill where cloud, some thin cloud not."""
    rng = np.random.default_rng(seed)
    shape = (size, size)
    terrain, weather = field(shape, 2.6, rng), field(shape, 2.8, rng)
    place = {"crs": SINUSOIDAL, "transform": from_origin(-400_000, 4_450_000, 926.625433, 926.625433)}
    for number in range(days):
        when = FIRST + timedelta(days=number)
        weather = 0.6 * weather + 0.8 * field(shape, 2.8, rng)
        kelvin = 305 + 4 * np.sin(number / 6) - 3 * terrain + 1.5 * weather + 0.2 * rng.standard_normal(shape)
        cloud = cloud_mask(shape, float(rng.beta(0.8, 1.4)) if clouds is None else clouds, rng)
        thin = cloud_mask(shape, 0.05, rng) & ~cloud  # produced, but colder than the ground, with an error of over 3 K
        kelvin = np.where(thin, kelvin - 12, kelvin)
        stored = np.where(cloud, 0, np.rint(kelvin / 0.02)).astype(np.uint16)
        quality = np.where(
            cloud, 0b10, np.where(thin, 0b11_00_00_01, np.where(rng.random(shape) < 0.3, 0b01_00_00_01, 0))
        )
        name = f"doy{when:%Y%j}_aid0001.tif"
        raster(folder / f"MOD11A1.061_LST_Day_1km_{name}", stored, nodata=0, **place)
        raster(folder / f"MOD11A1.061_QC_Day_{name}", quality.astype(np.uint8), **place)
    return folder


def netcdf(path: Path, layers: dict, coordinates: dict | None = None, calendar: str = "julian") -> Path:
    """A NetCDF file; layers by name: (values, attributes), values (rows, columns), or (days, rows, columns)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    *days, rows, columns = np.shape(next(iter(layers.values()))[0])
    with netcdf_file(path, "w") as file:
        file.Conventions = "CF-1.4"
        names = ("lat", "lon") if coordinates else ("rows", "columns")
        for name, size in zip(names, (rows, columns), strict=True):
            file.createDimension(name, size)
        for name, (values, unit) in (coordinates or {}).items():
            variable = file.createVariable(name, "f8", (name,))
            variable[:] = values
            variable.units = unit
        if days:
            names = ("time", *names)
            file.createDimension("time", days[0])
            time = file.createVariable("time", "f8", ("time",))
            time[:] = (FIRST - date(2000, 1, 1)).days + 2 * np.arange(days[0])
            time.units, time.calendar = "days since 2000-01-01 00:00:00", calendar
        for name, (values, attributes) in layers.items():
            values = np.asarray(values)
            variable = file.createVariable(name, values.dtype.str[1:], names)
            variable[:] = values
            for key, value in attributes.items():
                setattr(variable, key, value)
    return path
