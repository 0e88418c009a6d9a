"""The page of a prepared stack, in one self-contained HTML file: how much is seen when, and whether masks are right."""

import base64
import io
from collections.abc import Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import rasterio
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from miha.errors import DataError
from miha.files import write_text
from miha.products.downloads import Observation
from miha.products.reading import open_scene
from miha.products.record import DayRecord, StackRecord
from miha.rasters.window import Image

PAGE = "stack.html"
SHOWN = 6  # days in the picture
SIDE = 320  # pixels of a picture, at most
GAP, BAR = "#d9dde1", "#1f3b57"


def write_page(out: Path, record: StackRecord, observations: Sequence[Observation]) -> None:
    """Write ``stack.html``.

    Args:
        out: folder of the data set.
        record: of its stack.
        observations: what it was made of.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((resources.files("miha.products") / PAGE).read_text(encoding="utf-8"))
    often, mean = _maps(out, record.days)
    page = template.render(
        name=out.absolute().name,
        record=record,
        projection=_projection(record.grid.crs),
        months=_months(record.days),
        previews=_embed(_previews(out, record, observations)),
        cover=_embed(_cover(record.days)),
        maps=_embed(_draw_maps(often, mean, record.unit)),
    )
    write_text(out / PAGE, page)


def _projection(crs: str) -> str:
    """A short name of a CRS."""
    if not crs:
        return "no CRS"
    known = CRS.from_string(crs)
    return f"EPSG:{epsg}" if (epsg := known.to_epsg()) else str(known.to_dict().get("proj", "a CRS of its own"))


def _months(days: Sequence[DayRecord]) -> list[dict[str, Any]]:
    rows = []
    for month, group in groupby(days, key=lambda day: f"{day.date:%Y-%m}"):
        shares = [day.valid for day in group]
        rows.append(
            {
                "month": month,
                "days": len(shares),
                "mean": sum(shares) / len(shares),
                "least": min(shares),
                "most": max(shares),
            }
        )
    return rows


def _cover(days: Sequence[DayRecord]) -> Figure:
    figure = Figure(figsize=(10, 2.4), layout="constrained")
    axes = figure.add_subplot()
    axes.bar([day.date for day in days], [100 * day.valid for day in days], width=1.0, color=BAR)  # type: ignore[arg-type]
    axes.set(ylabel="seen, %", ylim=(0, 100))
    axes.xaxis.set_major_locator(AutoDateLocator(maxticks=7))  # type: ignore[no-untyped-call]
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _maps(out: Path, days: Sequence[DayRecord]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each pixel is seen, %, and its mean; thinned out."""
    number = total = np.zeros(())
    for day in days:
        values = _thinned(out / day.file)
        number = number + ~np.isnan(values)
        total = total + np.nan_to_num(values)
    return 100 * number / len(days), np.where(number, total / np.maximum(number, 1), np.nan)


def _thinned(path: Path) -> Image:
    """A day of the stack in at most SIDE pixels a side."""
    with rasterio.open(path) as raster:
        shape = _small(raster.height, raster.width)
        numbers = raster.read(1, out_shape=shape, masked=True)
        values = numbers.astype(np.float32) * raster.scales[0] + raster.offsets[0]
        return np.asarray(values.filled(np.nan), np.float32)


def _small(height: int, width: int) -> tuple[int, int]:
    step = max(1, -(-max(height, width) // SIDE))
    return -(-height // step), -(-width // step)


def _draw_maps(often: NDArray[np.float64], mean: NDArray[np.float64], unit: str) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, values, title, colours in (
        (left, often, "seen, % of days", "viridis"),
        (right, mean, f"mean{f', {unit}' if unit else ''}", "inferno"),
    ):
        axes.set_facecolor(GAP)
        figure.colorbar(axes.imshow(values, cmap=colours, interpolation="nearest"), ax=axes, shrink=0.8)
        axes.set(title=title, xticks=[], yticks=[])
    return figure


def _previews(out: Path, record: StackRecord, observations: Sequence[Observation]) -> Figure:
    """Some days with many clouds and few, as downloaded and as prepared."""
    telling = [day for day in record.days if 0.05 < day.valid < 0.95] or list(record.days)
    chosen = [telling[place] for place in np.unique(np.linspace(0, len(telling) - 1, SHOWN).round().astype(int))]
    by_day = {(observation.path, observation.when): observation for observation in observations}
    figure = Figure(figsize=(10, 10 / SHOWN * 2 + 0.6), layout="constrained")
    grid = figure.subplots(2, SHOWN, squeeze=False)
    for above, below, day in zip(grid[0], grid[1], chosen, strict=False):
        after = _thinned(out / day.file)
        low, high = np.nanpercentile(after, [2, 98]) if not np.isnan(after).all() else (0, 1)
        for axes, values in ((above, _downloaded(by_day[day.sources[0], day.date])), (below, after)):
            axes.set_facecolor(GAP)
            if values is not None:
                axes.imshow(values, cmap="inferno", vmin=low, vmax=high, interpolation="nearest")
        above.set_title(f"{day.date}", fontsize=9)
        below.set_xlabel(f"{day.valid:.0%} seen", fontsize=9)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes in grid[:, len(chosen) :].ravel():
        axes.set_visible(False)
    return figure


def _downloaded(observation: Observation) -> Image | None:
    """A scene on its own grid before its masks, thinned out; None if it is not there any more."""
    try:
        with open_scene(observation) as scene:
            whole = Window(0, 0, scene.raster.width, scene.raster.height)
            return scene.values(whole, _small(scene.raster.height, scene.raster.width))
    except (DataError, RasterioError):
        return None


def _embed(figure: Figure) -> str:
    """A figure as a data URL."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
