"""What filling every day of a stack costs on two cores: MIHA's ways, beside what reading and writing alone cost, and
two methods that know only the series of each pixel.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from bench.results import RUNS, Result
from bench.runs import small_network
from bench.stacks import BLOCK, stack
from miha.gapfill.series import Series, days_of, fill_days, fill_series, prepare, start
from miha.rasters.stack import ReadOptions, list_rasters, read_stack
from miha.rasters.window import read_window
from miha.rasters.writing import Part, write_parts
from miha.threads import fixed_threads
from miha.training.workers import working

CORES = 2
FEW_DAYS = 4  # that base and network fill, on one core: one from the middle of each quarter by size of gaps
SMOOTHNESS = 10.0  # penalty of second differences in Whittaker's smoother
VALUES = 16_000_000  # of all days that are interpolated at once


def linear(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """(days, …), NaN in the gaps → each filled between the last day before and the first after that show the pixel."""
    seen, number = ~np.isnan(series), len(series)
    days = np.arange(number, dtype=np.int32).reshape(-1, *[1] * (series.ndim - 1))
    before = np.maximum.accumulate(np.where(seen, days, -1), axis=0)
    after = np.minimum.accumulate(np.where(seen, days, number)[::-1], axis=0)[::-1]
    before, after = np.where(before < 0, after, before), np.where(after == number, before, after)
    never = before == number
    first, last = (np.take_along_axis(series, np.where(never, 0, at), axis=0) for at in (before, after))
    share = (days - before) / np.maximum(after - before, 1)
    return np.where(seen, series, first + share.astype(np.float32) * (last - first))


def whittaker(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Least squares with a penalty of second differences (Eilers 2003, Anal. Chem. 75, 3631), all pixels at once."""
    days, shape = len(series), series.shape[1:]
    differences = np.diff(np.eye(days), 2, axis=0)
    penalty = SMOOTHNESS * differences.T @ differences
    bands = np.zeros((3, days))
    for band in range(3):
        bands[band, : days - band] = np.diagonal(penalty, band)
    weight = (~np.isnan(series)).astype(np.float32) + np.float32(1e-6)
    mean = np.nanmean(series)
    # LDL' of a matrix of five diagonals, forwards and then back
    pivot, near, far, right = (np.zeros((days, *shape), np.float32) for _ in range(4))
    for row in range(days):
        pivot[row] = weight[row] + bands[0, row]
        right[row] = weight[row] * np.nan_to_num(series[row], nan=mean)
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
    for row in range(days - 2, -1, -1):
        right[row] -= near[row] * right[row + 1] + (far[row] * right[row + 2] if row + 2 < days else 0)
    return np.where(np.isnan(series), right, series)


def measure_cube(method: str, days: int, side: int) -> Result:
    """Seconds on the clock and of CPU, megapixels a second, and the peak of memory of a process (GB), for all days.

    Those of base and network are calculated from the CPU time of ``days`` days, and of what is done once for all.
    """
    data = stack(RUNS / "scale" / f"{days}x{side}", days, side)
    out = data.parent / "out" / f"cube_{method}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    ways: dict[str, Callable[[Path, Path], Callable[[], int]]] = {
        "eof": _eof,
        "files": lambda data, out: lambda: _side_by_side(_copy, data, out),
        "linear": lambda data, out: lambda: _side_by_side(_linear, data, out),
        "whittaker": lambda data, out: lambda: _side_by_side(_whittaker, data, out),
    }
    if method in ("base", "network"):
        return _some(Series(data=data, out=out, model=small_network(data) if method == "network" else None), side)
    fill, watch = ways[method](data, out), Watch()
    started = time.perf_counter()
    with watch:
        filled = fill()
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    speed = filled * side**2 / seconds / 1e6
    return {"seconds": seconds, "cpu": watch.seconds, "gigabytes": watch.gigabytes, "speed": speed}


def _eof(data: Path, out: Path) -> Callable[[], int]:
    series = Series(data=data, out=out, method="eof")

    def fill() -> int:
        assert not fill_series(series, working(CORES))
        return len(days_of(series))

    return fill


def _some(series: Series, side: int) -> Result:
    """Of a few days, on one core: two fill twice as many."""
    watch, started = Watch(), time.process_time()
    with watch:
        days = start(series)
        prepare(series, days)
        once = time.process_time() - started
        history = read_stack(series.data / "history")
        covered = np.isnan(np.asarray(history.values[:, :BLOCK, :BLOCK])).mean(axis=(1, 2))
        order = np.argsort(covered, kind="stable")
        chosen = {history.dates[order[(2 * part + 1) * len(order) // (2 * FEW_DAYS)]] for part in range(FEW_DAYS)}
        started = time.process_time()
        fill_days(series, [day for day in days if day.when in chosen])
        cpu = once + (time.process_time() - started) / FEW_DAYS * len(days)
    shutil.rmtree(series.out)
    speed = len(days) * side**2 / (cpu / CORES) / 1e6
    return {"seconds": cpu / CORES, "cpu": cpu, "gigabytes": watch.gigabytes, "speed": speed, "days": FEW_DAYS}


def _side_by_side(work: Callable[[Path, Path, int], int], data: Path, out: Path) -> int:
    with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        return sum(future.result() for future in [pool.submit(work, data, out, core) for core in range(CORES)])


@fixed_threads(1)
def _copy(data: Path, out: Path, core: int) -> int:
    """Every other day, read and written as MIHA does, its gaps filled with one number."""
    paths = list_rasters(data / "history")[core::CORES]
    for path in paths:
        with rasterio.open(path) as raster:

            def part(where: tuple[slice, slice], path: Path = path, raster: rasterio.DatasetReader = raster) -> Part:
                values, _ = read_window(path, raster, ReadOptions(), where)
                return Part(np.full_like(values, 290), np.ones_like(values), np.isnan(values), {})

            write_parts(path, out / path.name, part, ReadOptions())
    return len(paths)


def _linear(data: Path, out: Path, core: int) -> int:
    return _half(linear, data, out, core)


def _whittaker(data: Path, out: Path, core: int) -> int:
    return _half(whittaker, data, out, core)


@fixed_threads(1)
def _half(fill: Callable[[NDArray[np.float32]], NDArray[np.float32]], data: Path, out: Path, core: int) -> int:
    """Half of the rows of all days; these are written as rasters of their own."""
    with ExitStack() as files:
        days = [files.enter_context(rasterio.open(path)) for path in list_rasters(data / "history")]
        height, width = days[0].shape
        first, last = core * height // CORES, (core + 1) * height // CORES
        profile = {**days[0].profile, "height": last - first}
        outputs = [
            files.enter_context(rasterio.open(out / f"{core}_{Path(day.name).name}", "w", **profile)) for day in days
        ]
        rows = max(1, VALUES // (width * len(days)))
        for top in range(first, last, rows):
            window = Window(0, top, width, min(rows, last - top))
            stored = np.stack([day.read(1, window=window) for day in days])
            scale = np.float32(days[0].scales[0])
            series = np.where(stored == days[0].nodata, np.nan, stored * scale).astype(np.float32)
            filled = np.nan_to_num(np.rint(fill(series) / scale)).astype(np.uint16)
            for day, output in zip(filled, outputs, strict=True):
                output.write(day, 1, window=Window(0, top - first, width, day.shape[0]))
    return len(days) if core == 0 else 0


class Watch:
    """The most memory that one of this process and its descendants held at any time, and the CPU time of all of them.

    Both are looked at twice a second.
    """

    def __init__(self) -> None:
        self.gigabytes, self._ticks = 0.0, dict[Path, int]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for process in _family():
                with suppress(OSError, IndexError):
                    status = (process / "status").read_text()
                    peak = int(status.split("VmHWM:")[1].split()[0]) / 1e6
                    self.gigabytes = max(self.gigabytes, peak)
                    self._ticks[process] = sum(map(int, _stat(process)[11:13]))

    @property
    def seconds(self) -> float:
        """CPU time."""
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")


def _stat(process: Path) -> list[str]:
    return (process / "stat").read_text().rpartition(")")[2].split()


def _family() -> list[Path]:
    """Folders in /proc of this process and all its descendants."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            parents[int(process.name)] = int(_stat(process)[1])
    family = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in family} - family:
        family |= more
    return [Path("/proc") / str(process) for process in family]
