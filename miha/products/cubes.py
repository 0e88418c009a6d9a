"""Days of a cube: the bands of a NetCDF or Zarr file whose third axis is time."""

import re
from datetime import datetime, timedelta

from rasterio.errors import RasterioError

from miha.errors import DataError
from miha.products.layers import open_layer

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_UNITS = re.compile(
    r"(second|minute|hour|day)s? since (\d{4}-\d{1,2}-\d{1,2})(?:[T ](\d{1,2}:\d{1,2}(?::\d{1,2})?))?.*"
)
_CALENDARS = {"standard", "gregorian", "proleptic_gregorian", "julian"}  # the last names the same days since 1900


def days_of_bands(path: str, subdataset: str | None) -> dict[int, datetime]:
    """Band → day and time, from the values and the unit of the time axis, as the CF conventions have them.

    Raises:
        DataError: the file cannot be read, or has no time axis that is understood.
    """
    try:
        with open_layer(path, subdataset, 1) as (raster, _):
            tags = raster.tags()
            axis = next((name.removesuffix("#axis") for name, kind in tags.items() if kind == "T"), "time")
            units, calendar = tags.get(f"{axis}#units", ""), tags.get(f"{axis}#calendar", "standard").lower()
            values = {band: raster.tags(band).get(f"NETCDF_DIM_{axis}") for band in raster.indexes}
    except RasterioError as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    known = _UNITS.fullmatch(units)
    if not known or calendar not in _CALENDARS or None in values.values():
        raise DataError(
            f"{path} has no time axis that is understood (unit {units or 'none'!r}, calendar {calendar!r}). "
            "Write its days into files of their own (cdo splitday, gdal_translate -b)."
        )
    hour, minute, *_ = (int(number) for number in (known[3] or "0:0").split(":"))
    year, month, day = (int(number) for number in known[2].split("-"))
    since = datetime(year, month, day, hour, minute)
    steps = {band: float(value) * _SECONDS[known[1]] for band, value in values.items() if value is not None}
    return {band: since + timedelta(seconds=step) for band, step in steps.items()}
