"""Pictures of a window of a raster, read no finer than the screen shows them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window

from miha.errors import DataError
from miha.gapfill.pictures import DEVIATION, UNKNOWN, VALUE
from miha.rasters.options import ReadOptions
from miha.rasters.window import BAND, Image, decode, is_masked, opened, read_grid, read_window
from miha.rasters.writing import EMPTY, FILLED, OBSERVED, sidecars_of

SOURCES = {OBSERVED: ("observed", "#b8c4d0"), FILLED: ("filled", "#00224e"), EMPTY: ("left empty", "#e7b416")}
COLOURS: dict[str, str | Colormap] = {
    **dict.fromkeys(("observed", "filled", "truth"), VALUE),
    "std": DEVIATION,
    "source": ListedColormap([SOURCES[source][1] for source in sorted(SOURCES)]),
}
MOST_PIXELS = 2000  # along a side of a picture
LOOKED_AT = 12  # scenes from which the ends of a legend are taken
THUMBNAIL = 128  # pixels along a side of these
MAP = 400  # columns of a map for the Prefect page


@dataclass(frozen=True)
class Part:
    """Columns and rows of a raster, and the size at which they are wanted, pixels."""

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int

    def clipped(self, height: int, width: int) -> "Part":
        """The same inside a raster, no finer than its pixels, and of at most MOST_PIXELS along a side.

        Raises:
            DataError: nothing of it is inside.
        """
        left, right = max(0, self.left), min(width, self.right)
        top, bottom = max(0, self.top), min(height, self.bottom)
        if left >= right or top >= bottom:
            raise DataError("that part lies outside the raster.")
        columns = max(1, min(self.width, right - left, MOST_PIXELS))
        rows = max(1, min(self.height, bottom - top, MOST_PIXELS))
        return Part(left, top, right, bottom, columns, rows)


def shape_of(path: Path) -> tuple[int, int]:
    """Height and width of a raster, pixels."""
    grid = read_grid(path)
    return grid.height, grid.width


def unit_of(path: Path, options: ReadOptions) -> str:
    """Unit of a raster's values; "" if the file says none."""
    with opened(path, options) as raster:
        return raster.units[options.band - 1] or str(raster.tags().get("units", ""))


def read_part(path: Path, layer: str, part: Part, options: ReadOptions) -> Image:
    """Values (rows, columns) of a layer, NaN where there is none; of what is shrunk the nearest pixels.

    Args:
        path: of the layer's raster.
        layer: one of ``catalogue.LAYERS``. Of a filled scene ``observed`` lacks what was filled, and ``filled`` what
            was left empty: what lies beside it tells, and no quality layer.
        part: what is wanted, clipped to the raster.
        options: how scenes are read; the sidecars of filled scenes have one band and NaN.

    Raises:
        DataError: the raster cannot be read.
    """
    if layer in ("std", "source"):
        return _read(path, part, ReadOptions())
    if layer == "truth" or not (origins := sidecars_of(path)[0]).exists():
        return _read(path, part, options)
    values, source = _read(path, part, options.plain), _read(origins, part, ReadOptions())
    values[source == EMPTY if layer == "filled" else source != OBSERVED] = np.nan
    return values


def _read(path: Path, part: Part, options: ReadOptions) -> Image:
    with opened(path, options) as raster:
        if options.clear or options.grow:
            return _thinned(path, part, raster, options)
        size: dict[str, Any] = {"out_shape": (part.height, part.width), "resampling": Resampling.nearest}
        size["window"] = Window.from_slices((part.top, part.bottom), (part.left, part.right))
        mask = raster.read_masks(options.band, **size) if is_masked(raster, options) else None
        return decode(raster.read(options.band, **size), mask, raster, options)


def _thinned(path: Path, part: Part, raster: DatasetReader, options: ReadOptions) -> Image:
    """A part of which pixels tell of others, so that all are read, strip by strip."""
    rows, columns = _nearest(part.top, part.bottom, part.height), _nearest(part.left, part.right, part.width)
    number, pieces = -(-(part.bottom - part.top) * (part.right - part.left) // BAND), list[Image]()
    for strip in np.array_split(rows, min(number, len(rows))):
        where = slice(int(strip[0]), int(strip[-1]) + 1), slice(part.left, part.right)
        values, _ = read_window(path, raster, options, where)
        pieces.append(values[np.ix_(strip - strip[0], columns - part.left)])
    return np.concatenate(pieces)


def _nearest(start: int, stop: int, number: int) -> NDArray[np.int64]:
    """The pixels of a range whose centres are nearest to those of ``number`` larger ones."""
    return start + ((np.arange(number) + 0.5) * (stop - start) / number).astype(np.int64)


def legend_of(paths: list[Path], layer: str, options: ReadOptions) -> tuple[float, float]:
    """Ends of a layer's legend, the same for all days: the 1st and 99th percentile of some scenes (std: from 0)."""
    chosen = [paths[place] for place in sorted({*np.linspace(0, len(paths) - 1, LOOKED_AT).round().astype(int)})]
    parts = []
    for path in chosen:
        height, width = shape_of(path)
        whole = Part(0, 0, width, height, THUMBNAIL, THUMBNAIL).clipped(height, width)
        parts.append(read_part(path, layer, whole, options).ravel())
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = (float(limit) for limit in np.percentile(values, [1, 99]))
    return (0.0 if layer == "std" else low), high if high > low else low + 1.0


def maps_of(path: Path, options: ReadOptions) -> Figure:
    """A filled scene as it was observed, as it was filled, and the standard deviation of what was filled."""
    height, width = shape_of(path)
    part = Part(0, 0, width, height, MAP, MAP * height // width or 1).clipped(height, width)
    figure = Figure(figsize=(12, 1 + 3.4 * min(2.0, height / width)), layout="constrained")
    figure.suptitle(path.name)
    low, high = legend_of([path], "filled", options)
    for axes, layer in zip(figure.subplots(1, 3), ("observed", "filled", "std"), strict=True):
        file = sidecars_of(path)[1] if layer == "std" else path
        limits = legend_of([file], "std", options) if layer == "std" else (low, high)
        values = read_part(file, layer, part, options)
        image = axes.imshow(values, cmap=COLOURS[layer], vmin=limits[0], vmax=limits[1], interpolation="nearest")
        axes.set(xticks=[], yticks=[], facecolor=UNKNOWN, title="standard deviation" if layer == "std" else layer)
        figure.colorbar(image, ax=axes, label=unit_of(path, options) or "value", shrink=0.85)
    return figure
