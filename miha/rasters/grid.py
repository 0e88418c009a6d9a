"""Where the pixels of a raster lie."""

from dataclasses import dataclass

import numpy as np
from rasterio.io import DatasetReader

from miha.wording import plural


@dataclass(frozen=True)
class Grid:
    """Where pixels lie: two rasters of equal grids can be compared pixel by pixel.

    ``place`` holds the numbers of ground control points or rational polynomials, of rasters without a CRS of their own.
    """

    height: int
    width: int
    crs: str
    transform: tuple[float, ...]
    bands: int
    place: tuple[float, ...] = ()

    def difference(self, other: "Grid") -> str | None:
        """Say the first way in which ``other`` differs from this grid, or None if pixels fall together."""
        if (self.height, self.width) != (other.height, other.width):
            return f"its shape is {other.height}x{other.width}, not {self.height}x{self.width}"
        if self.crs != other.crs:
            return f"its CRS is {other.crs or 'missing'}, not {self.crs or 'missing'}"
        if not np.allclose(self.transform, other.transform, rtol=1e-9, atol=1e-9):
            return f"its transform is {other.transform}, not {self.transform}"
        if len(self.place) != len(other.place) or not np.allclose(self.place, other.place, rtol=1e-9, atol=1e-9):
            return "it has other ground control points or rational polynomials"
        if self.bands != other.bands:
            return f"it has {plural(other.bands, 'band')}, not {self.bands}"
        return None


def grid_of(source: DatasetReader) -> Grid:
    """The grid of a raster that is open."""
    crs = source.crs.to_string() if source.crs else ""
    place = () if crs else _place(source)
    return Grid(source.height, source.width, crs, tuple(source.transform)[:6], source.count, place)


def _place(source: DatasetReader) -> tuple[float, ...]:
    """Row, column, x, y and z of each ground control point; or all numbers of rational polynomials."""
    points, _ = source.gcps
    if points:
        numbers = [number for at in points for number in (at.row, at.col, at.x, at.y, at.z)]
    else:
        numbers = list(np.hstack([*source.rpcs.to_dict().values()])) if source.rpcs else []
    return tuple(float(number or 0) for number in numbers)
