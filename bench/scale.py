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
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import rasterio
import typer
from numpy.typing import NDArray
from rasterio.windows import Window

from bench.cube import CORES, linear, measure_cube, whittaker
from bench.results import DOCUMENT, RESULTS, RUNS, Result, Results, process_pool, table
from bench.runs import small_network
from bench.stacks import BLOCK, stack
from miha.gapfill.network_filler import open_filler
from miha.gapfill.series import Series, fill_days, prepare, start
from miha.rasters.stack import list_rasters

DAYS, SIDE = (30, 60, 120, 240, 1000), 96
SIDES, FEW = (192, 384, 768, 1500), 30
CUBE = "365x1200"  # days and pixels a side of the stack that is filled as a whole
METHODS = {
    "base": "MIHA's base",
    "network": "MIHA's network",
    "eof": "MIHA's patterns, all days",
    "files": "reading and writing alone",
    "linear": "linear in time",
    "whittaker": "Whittaker's smoother",
}
GROWTHS = {"base": "The base grows", "network": "The network grows", "eof": "Patterns, all days, grow"}


def measure(method: str, days: int, side: int) -> Result:
    """Seconds of CPU, peak of memory (GB) and mean absolute error of one fill."""
    data = stack(RUNS / "scale" / f"{days}x{side}", days, side)
    (gapped,) = list_rasters(data / "gapped")
    out = data.parent / "out" / f"{method}_{days}x{side}.tif"
    out.parent.mkdir(exist_ok=True)
    fill: dict[str, Callable[[], None]] = {
        "base": lambda: open_filler(None, data).fill(gapped, out),
        "network": lambda: open_filler(model, data).fill(gapped, out),
        "files": lambda: _in_time(data, gapped, out, lambda series, day: series[day]),
        "eof": lambda: _series(data, gapped, out),
        "linear": lambda: _in_time(data, gapped, out, lambda series, day: linear(series)[day]),
        "whittaker": lambda: _in_time(data, gapped, out, lambda series, day: whittaker(series)[day]),
    }
    model = small_network(data) if method == "network" else None
    started = time.process_time()
    fill[method]()
    seconds = time.process_time() - started  # of CPU: other work on the machine counts less
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    measured = {"seconds": seconds, "gigabytes": peak}
    return measured if method == "files" else {**measured, "error": _error(data, gapped, out)}


def _series(data: Path, gapped: Path, out: Path) -> None:
    """Every day of the stack, the gapped one among them."""
    with TemporaryDirectory(dir=out.parent) as folder:
        history = Path(folder) / "data" / "history"
        history.mkdir(parents=True)
        for path in [*list_rasters(data / "history"), gapped]:
            (history / path.name).symlink_to(path.absolute())
        series = Series(data=history.parent, out=Path(folder) / "out", method="eof")
        days = start(series)
        prepare(series, days)
        fill_days(series, days)
        (series.out / gapped.name).rename(out)


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


def _error(data: Path, gapped: Path, out: Path) -> float:
    hidden, filled, truth = (_read(path) for path in (gapped, out, data / "truth" / gapped.name))
    return float(np.nanmean(np.abs(filled - truth)[np.isnan(hidden) & ~np.isnan(truth)]))


ALL = " all days"  # what the names of results of whole series end with


def exponents(kept: Results, method: str, by: str) -> dict[str, float]:
    """Slopes of the logarithms of seconds and memory over those of days or pixels, least squares."""
    sizes, figures = [], []
    for column, runs in kept.results.items():
        if column.endswith(ALL):
            continue
        days, side = map(int, column.split("x"))
        if method in runs and (side == SIDE if by == "days" else days == FEW and side != SIDE):
            sizes.append(np.log(days if by == "days" else side**2))
            figures.append([np.log(runs[method]["seconds"]), np.log(runs[method]["gigabytes"])])
    if len(sizes) < 2:
        return {}
    slopes = np.polyfit(sizes, figures, 1)[0]
    return {"seconds": float(slopes[0]), "memory": float(slopes[1])}


def tables(kept: Results) -> str:
    """A row for each stack, seconds, memory and error of each method; below it how they grow; then a whole series."""
    rows = []
    stacks = {name: runs for name, runs in kept.results.items() if not name.endswith(ALL)}
    for column in sorted(stacks, key=lambda name: tuple(map(int, name.split("x")))[::-1]):
        runs: dict[str, Any] = stacks[column]
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
    parts = [table(header, rows)] if rows else []
    for method, name in GROWTHS.items():
        growth = [
            f"over {by} time as the power {slopes['seconds']:.2f}, memory {slopes['memory']:.2f}"
            for by in ("days", "pixels")
            if (slopes := exponents(kept, method, by))
        ]
        parts += [f"{name} {'; '.join(growth)}."] if growth else []
    return "\n\n".join([*parts, *_cubes(kept)])


def _cubes(kept: Results) -> Iterator[str]:
    for name, runs in sorted(kept.results.items()):
        if name.endswith(ALL):
            days, side = name.removesuffix(ALL).split("x")
            rows = [
                [
                    _named(label, run, days),
                    f"{run['seconds']:.0f}",
                    f"{run['cpu']:.0f}",
                    f"{run['speed']:.2f}",
                    f"{run['gigabytes']:.2f}",
                ]
                for method, label in METHODS.items()
                if (run := runs.get(method))
            ]
            header = [
                f"all of {days} days, {side}², on {CORES} cores",
                "seconds",
                "CPU seconds",
                "megapixels a second",
                "GB a process",
            ]
            yield table(header, rows)


def _named(label: str, run: Result, days: str) -> str:
    """What a row is called; one that was not measured whole says so."""
    return f"{label}, from {run['days']} of {days} days" if "days" in run else label


def _ready(method: str, days: int, side: int) -> None:
    """Make the stack, and train the network, in another process: its peak of memory goes on to all it starts."""
    with process_pool(1) as pool:
        data = pool.submit(stack, RUNS / "scale" / f"{days}x{side}", days, side).result()
        if method == "network":
            pool.submit(small_network, data).result()


def main(
    days: Annotated[list[int] | None, typer.Option(help=f"lengths of histories, at {SIDE}²")] = None,
    side: Annotated[list[int] | None, typer.Option(help=f"pixels a side, with {FEW} days")] = None,
    cube: Annotated[str, typer.Option(help="days x pixels a side of a stack to fill as a whole; none: ''")] = CUBE,
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
                _ready(one, length, pixels)
                with process_pool(1) as pool:
                    kept.once(f"{length}x{pixels}", one, pool.submit(job).result)
    for one in (method or METHODS) if cube else ():
        if not kept.has(f"{cube}{ALL}", one):
            length, pixels = map(int, cube.split("x"))
            _ready(one, length, pixels)
            with process_pool(1) as pool:
                kept.once(f"{cube}{ALL}", one, pool.submit(measure_cube, one, length, pixels).result)
    kept.publish(tables(kept))


if __name__ == "__main__":
    typer.run(main)
