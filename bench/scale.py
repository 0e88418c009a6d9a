"""What filling costs as stacks grow, in days and in pixels: CPU time, memory and error, beside what users do today.

Simulated stacks of ``bench/stacks.py``; one scene is filled, with a cloud over four tenths of it. Each figure is of a
process of its own, so that its peak of memory is that fill's. Floors: reading all days and writing one raster, linear
interpolation in time (as in eo-learn), and Whittaker's smoother (as in sits).
"""

import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rasterio
import typer
from numpy.typing import NDArray
from rasterio.windows import Window

from bench.results import DOCUMENT, RESULTS, RUNS, Result, Results, process_pool, table
from bench.stacks import BLOCK, stack
from miha.gapfill.filler import BaseFiller
from miha.rasters.stack import list_rasters

DAYS, SIDE = (30, 60, 120, 240, 1000), 96
SIDES, FEW = (192, 384, 768, 1500), 30
SMOOTHNESS = 10.0  # penalty of second differences in Whittaker's smoother
METHODS = {
    "base": "MIHA's base",
    "files": "reading and writing alone",
    "linear": "linear in time",
    "whittaker": "Whittaker's smoother",
}


def measure(method: str, days: int, side: int) -> Result:
    """Seconds of CPU, peak of memory (GB) and mean absolute error of one fill."""
    data = stack(RUNS / "scale" / f"{days}x{side}", days, side)
    (gapped,) = list_rasters(data / "gapped")
    out = data.parent / "out" / f"{method}_{days}x{side}.tif"
    out.parent.mkdir(exist_ok=True)
    fill: dict[str, Callable[[], None]] = {
        "base": lambda: _base(data, gapped, out),
        "files": lambda: _in_time(data, gapped, out, lambda series, day: series[day]),
        "linear": lambda: _in_time(data, gapped, out, _linear),
        "whittaker": lambda: _in_time(data, gapped, out, _whittaker),
    }
    started = time.process_time()
    fill[method]()
    seconds = time.process_time() - started  # of CPU: other work on the machine counts less
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    measured = {"seconds": seconds, "gigabytes": peak}
    return measured if method == "files" else {**measured, "error": _error(data, gapped, out)}


def _base(data: Path, gapped: Path, out: Path) -> None:
    BaseFiller(data).fill(gapped, out)


def _in_time(
    data: Path, gapped: Path, out: Path, fill: Callable[[NDArray[np.float32], int], NDArray[np.float32]]
) -> None:
    """Fill from each pixel's own series, by bands of rows."""
    paths = sorted([*list_rasters(data / "history"), gapped], key=lambda path: path.name)
    with rasterio.open(gapped) as raster, rasterio.open(out, "w", **raster.profile) as output:
        output.scales = raster.scales
        for window in _bands(raster.height, raster.width, len(paths)):
            series = np.stack([_read(path, window) for path in paths])
            filled = fill(series, paths.index(gapped))
            stored = np.nan_to_num(np.rint(filled / raster.scales[0])).astype(np.uint16)
            output.write(stored, 1, window=window)


def _bands(height: int, width: int, days: int) -> Iterator[Window]:
    rows = max(1, min(BLOCK, 50_000_000 // (width * days)))
    for top in range(0, height, rows):
        yield Window(0, top, width, min(rows, height - top))


def _read(path: Path, window: Window | None = None) -> NDArray[np.float32]:
    with rasterio.open(path) as raster:
        stored = raster.read(1, window=window)
        return np.where(stored == raster.nodata, np.nan, stored * raster.scales[0]).astype(np.float32)


def _linear(series: NDArray[np.float32], day: int) -> NDArray[np.float32]:
    """Between the last day before that shows a pixel, and the first after; the only one where there is but one."""
    before, after = _nearest(series[:day][::-1]), _nearest(series[day + 1 :])
    share = before[1] / (before[1] + after[1])
    between = (1 - share) * before[0] + share * after[0]
    found = np.where(np.isnan(before[0]), after[0], np.where(np.isnan(after[0]), before[0], between))
    return np.where(np.isnan(series[day]), found, series[day])


def _nearest(series: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first value of each pixel, NaN where there is none, and how many days away it is."""
    first = (~np.isnan(series)).argmax(axis=0)
    return np.take_along_axis(series, first[None], axis=0)[0], first + 1


def _whittaker(series: NDArray[np.float32], day: int) -> NDArray[np.float32]:
    """Least squares with a penalty of second differences (Eilers 2003, Anal. Chem. 75, 3631), all pixels at once."""
    days, shape = len(series), series.shape[1:]
    bands = np.zeros((3, days))
    differences = np.diff(np.eye(days), 2, axis=0)
    penalty = SMOOTHNESS * differences.T @ differences
    for band in range(3):
        bands[band, : days - band] = np.diagonal(penalty, band)
    weight = (~np.isnan(series)).astype(np.float32) + np.float32(1e-6)
    # LDL' of a matrix of five diagonals, forwards and then back
    pivot, near, far, right = (np.zeros((days, *shape), np.float32) for _ in range(4))
    for row in range(days):
        pivot[row] = weight[row] + bands[0, row]
        right[row] = weight[row] * np.nan_to_num(series[row], nan=np.nanmean(series))
        near[row], far[row] = bands[1, row], bands[2, row]
        if row:
            pivot[row] -= near[row - 1] ** 2 * pivot[row - 1]
            near[row] -= near[row - 1] * far[row - 1] * pivot[row - 1]
            right[row] -= near[row - 1] * right[row - 1]
        if row > 1:
            pivot[row] -= far[row - 2] ** 2 * pivot[row - 2]
            right[row] -= far[row - 2] * right[row - 2]
        near[row], far[row] = near[row] / pivot[row], far[row] / pivot[row]
    right /= pivot
    for row in range(days - 2, day - 1, -1):
        right[row] -= near[row] * right[row + 1] + (far[row] * right[row + 2] if row + 2 < days else 0)
    return np.where(np.isnan(series[day]), right[day], series[day])


def _error(data: Path, gapped: Path, out: Path) -> float:
    hidden, filled, truth = (_read(path) for path in (gapped, out, data / "truth" / gapped.name))
    return float(np.nanmean(np.abs(filled - truth)[np.isnan(hidden) & ~np.isnan(truth)]))


def exponents(kept: Results, method: str, by: str) -> dict[str, float]:
    """Slopes of the logarithms of seconds and memory over those of days or pixels, least squares."""
    sizes, figures = [], []
    for column, runs in kept.results.items():
        days, side = map(int, column.split("x"))
        if method in runs and (side == SIDE if by == "days" else days == FEW and side != SIDE):
            sizes.append(np.log(days if by == "days" else side**2))
            figures.append([np.log(runs[method]["seconds"]), np.log(runs[method]["gigabytes"])])
    if len(sizes) < 2:
        return {}
    slopes = np.polyfit(sizes, figures, 1)[0]
    return {"seconds": float(slopes[0]), "memory": float(slopes[1])}


def tables(kept: Results) -> str:
    """A row for each stack, seconds, memory and error of each method; below it how they grow."""
    rows = []
    for column in sorted(kept.results, key=lambda name: tuple(map(int, name.split("x")))[::-1]):
        runs: dict[str, Any] = kept.results[column]
        days, side = column.split("x")
        cells = [
            f"{runs[m]['seconds']:.1f} s, {runs[m]['gigabytes']:.2f} GB"
            + (f", {runs[m]['error']:.3f}" if m != "files" else "")
            if m in runs
            else ""
            for m in METHODS
        ]
        rows.append([f"{days} days, {side}²", *cells])
    header = ["CPU time, peak of memory, mean absolute error (K)", *METHODS.values()]
    growth = []
    for by in ("days", "pixels"):
        if slopes := exponents(kept, "base", by):
            growth.append(f"over {by} time as the power {slopes['seconds']:.2f}, memory {slopes['memory']:.2f}")
    return table(header, rows) + (f"\n\nThe base grows {'; '.join(growth)}." if growth else "")


def main(
    days: Annotated[list[int] | None, typer.Option(help=f"lengths of histories, at {SIDE}²")] = None,
    side: Annotated[list[int] | None, typer.Option(help=f"pixels a side, with {FEW} days")] = None,
    method: Annotated[list[str] | None, typer.Option(help="which to measure")] = None,
    fresh: Annotated[bool, typer.Option(help="forget the results of an earlier call")] = False,
    results: Annotated[Path, typer.Option(help="folder for scale.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the tables")] = DOCUMENT,
) -> None:
    """Measure fills of simulated stacks, one after the other."""
    kept = Results("scale", {"gap": 0.4}, fresh, results, document)
    for length, pixels in [*((d, SIDE) for d in days or DAYS), *((FEW, s) for s in side or SIDES)]:
        for one in method or METHODS:
            job = partial(measure, one, length, pixels)
            if not kept.has(f"{length}x{pixels}", one):
                with process_pool(1) as pool:
                    stack(RUNS / "scale" / f"{length}x{pixels}", length, pixels)
                    kept.once(f"{length}x{pixels}", one, pool.submit(job).result)
    kept.publish(tables(kept))


if __name__ == "__main__":
    typer.run(main)
