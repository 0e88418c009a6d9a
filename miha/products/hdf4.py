"""Grids of HDF-EOS 2 files, the HDF4 that MODIS products come in, where GDAL does not read them (extra ``hdf4``).

An array of the file becomes a GeoTIFF in memory. Its place on the Earth stands in the file's structural metadata
(HDF-EOS Library Users Guide, volume 1, chapter 6).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.io import DatasetReader, MemoryFile
from rasterio.transform import from_bounds

from miha.errors import DataError

_BEGIN = b"\x0e\x03\x13\x01"
_NUMBERS = r"\(([-+.\deE,]+)\)"
_LACKING = (
    "{} is an HDF4 file, which the GDAL of rasterio's wheels cannot read. Install what does: pip install 'miha[hdf4]'."
)


def needs_pyhdf(path: str) -> bool:
    """True for an HDF4 file that GDAL does not read here."""
    if path.startswith("/vsi") or not Path(path).is_file():
        return False
    with open(path, "rb") as stream:
        begins = stream.read(len(_BEGIN))
    with rasterio.Env() as environment:
        return begins == _BEGIN and "HDF4" not in environment.drivers()


class Hdf4File:
    """An HDF4 file.

    Raises:
        DataError: pyhdf is not installed, or the file cannot be read.
    """

    def __init__(self, path: str) -> None:
        try:
            from pyhdf.SD import SD
        except ImportError as error:
            raise DataError(_LACKING.format(path)) from error
        self.path = path
        with self._telling():
            self.file = SD(path)

    @property
    def names(self) -> list[str]:
        """Of its arrays of rows and columns."""
        return [name for name, (_, shape, _, _) in self.file.datasets().items() if len(shape) == 2]

    @contextmanager
    def open(self, name: str) -> Iterator[DatasetReader]:
        """One array as a raster, with nodata, scale, offset and unit as it says.

        Raises:
            DataError: it cannot be read, or where it lies is not known.
        """
        with self._telling():
            array, attributes = self.file.select(name), self.file.attributes()
            values, described = array[:], array.attributes()
        pieces = sorted(
            (int(piece.rpartition(".")[2]), str(text))
            for piece, text in attributes.items()
            if re.fullmatch(r"StructMetadata\.\d+", piece)
        )
        crs, transform = self._place("".join(text for _, text in pieces), name, values.shape)
        with MemoryFile() as memory:
            profile = {"driver": "GTiff", "count": 1, "height": values.shape[0], "width": values.shape[1]}
            nodata = described.get("_FillValue")
            with memory.open(**profile, dtype=values.dtype, crs=crs, transform=transform, nodata=nodata) as raster:
                raster.write(values, 1)
                raster.scales = (_number(described, "scale_factor", 1),)
                raster.offsets = (_number(described, "add_offset", 0),)
                raster.units = (str(described.get("units", "")),)
            with memory.open() as raster:
                yield raster

    def _place(self, metadata: str, name: str, shape: tuple[int, int]) -> tuple[CRS, Affine]:
        grids = re.findall(r"GROUP=GRID_\d+\s(.*?)END_GROUP=GRID_\d+", metadata, re.DOTALL)
        grid = next((text for text in grids if f'DataFieldName="{name}"' in text), "")
        found = [re.search(rf"{key}={form}", grid) for key, form in _KEYS.items()]
        if not all(found):
            raise DataError(f"{self.path} does not say where its array {name} lies: it is no grid of HDF-EOS.")
        projection, upper_left, lower_right, parameters = (match[1] if match else "" for match in found)
        corners = [[float(number) for number in corner.split(",")] for corner in (upper_left, lower_right)]
        if projection == "GCTP_SNSOID":
            crs = CRS.from_proj4(f"+proj=sinu +R={float(parameters.split(',')[0])} +units=m +no_defs")
        elif projection == "GCTP_GEO":
            crs, corners = CRS.from_epsg(4326), [[_degrees(packed) for packed in corner] for corner in corners]
        else:
            raise DataError(f"{self.path} is in projection {projection}; only GCTP_SNSOID and GCTP_GEO are read.")
        (west, north), (east, south) = corners
        return crs, from_bounds(west, south, east, north, shape[1], shape[0])

    @contextmanager
    def _telling(self) -> Iterator[None]:
        from pyhdf.error import HDF4Error

        try:
            yield
        except HDF4Error as error:
            raise DataError(f"{self.path} cannot be read: {error}. Get it anew.") from error


_KEYS = {
    "Projection": r"(\w+)",
    "UpperLeftPointMtrs": _NUMBERS,
    "LowerRightMtrs": _NUMBERS,
    "ProjParams": _NUMBERS,
}


def _number(attributes: Mapping[str, Any], key: str, default: float) -> float:
    """A number, and not the "n/a" of layers of bits."""
    value = attributes.get(key, default)
    return float(value) if isinstance(value, int | float) else default


def _degrees(packed: float) -> float:
    """DDDMMMSSS.SS, as GCTP packs degrees, minutes and seconds."""
    size, sign = abs(packed), -1 if packed < 0 else 1
    return sign * (size // 1e6 + size % 1e6 // 1e3 / 60 + size % 1e3 / 3600)
