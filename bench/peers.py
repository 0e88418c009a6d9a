"""Gap fillers side by side, on gaps pasted on clear days of histories: ``python -m bench.peers DATA DATA …``.

A day with a pasted gap is left out of all that fills it. No day of ``truth/`` is read. A network, if one is given, is
asked about days that its run did not learn from, of the data set that it learned.
"""

import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import Annotated

import numpy as np
import typer
from sklearn.ensemble import ExtraTreesRegressor

from bench.dineof import dineof
from bench.lone import fill_alone, lone_table
from bench.pasted import pasted
from bench.results import DOCUMENT, RESULTS, Result, Results, table
from bench.rfsi import rfsi
from bench.similar import similar_pixels
from miha.errors import DataError
from miha.evolution.seeds import stream
from miha.gapfill.base import PROCESS, fill_base, process_of
from miha.gapfill.cases import Case
from miha.gapfill.guess import fit_climatology, fit_ridge, visible_pixels
from miha.gapfill.judging import BASELINE_TREES
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.regressions import GuessSettings, tree_features
from miha.rasters.stack import Image
from miha.records.record import model_path
from miha.threads import fixed_threads, usable_cores

BASE, NETWORK, LONE = "base", "network", "one scene alone"
METHODS = {
    "mean_plus_offset": "mean plus offset",
    "ridge": "ridge",
    "dineof": "DINEOF (Beckers and Rixen 2003)",
    "similar": "regression on the series of similar pixels",
    "trees": f"{BASELINE_TREES} trees",
    "rfsi": "RFSI (Sekulić et al. 2020)",
    "process": "process (Gaussian)",
    BASE: "base: process and trees",
    NETWORK: "trained network",
}


@cache
def _network(run: Path, data: Path) -> NetworkFiller:
    return NetworkFiller(model_path(run, "best"), data)


def measure(data: Path, number: int, run: Path | None) -> Result:
    """Mean absolute error inside one pasted gap, and seconds, of each method.

    Args:
        data: the data set.
        number: of the gap.
        run: folder of a run that learned from ``data``, if any.
    """
    case = pasted(data, number)
    ways = dict(_ways(case, number))
    if run and case.day.isoformat() not in (network := _network(run, data)).learned:
        ways[NETWORK] = lambda: network.predict(case.scene, case.background).mean
    errors, seconds = {}, {}
    for name, fill in ways.items():
        started = time.perf_counter()
        with fixed_threads(1):
            filled = fill()
        errors[name], seconds[name] = case.error(filled), time.perf_counter() - started
    return {"errors": errors, "seconds": seconds, "day": case.day.isoformat(), "gap": case.gap}


def _ways(case: Case, seed: int) -> Iterator[tuple[str, Callable[[], Image]]]:
    scene, background, static, most = case.scene, case.background, case.static, GuessSettings().fit_pixels
    fitted = visible_pixels(scene, most, stream(seed, "fill"))
    yield "mean_plus_offset", lambda: fit_climatology(scene, background)
    yield "ridge", lambda: fit_ridge(scene, background, static, fitted)
    yield "dineof", lambda: dineof(scene, background, stream(seed, "fill"))
    yield "similar", lambda: similar_pixels(scene, background)
    yield "trees", lambda: _trees(case, fitted)
    yield "rfsi", lambda: rfsi(scene, background, static, most, stream(seed, "fill"))
    yield "process", lambda: process_of(scene, background, static, stream(seed, "fill", PROCESS)).mean
    yield BASE, lambda: fill_base(scene, background, static, seed).mean


def _trees(case: Case, fitted: "np.typing.NDArray[np.int64]") -> Image:
    features = tree_features(case.background.filled, case.background.level, case.static)
    forest = ExtraTreesRegressor(BASELINE_TREES, n_jobs=1, random_state=0)
    forest.fit(features[fitted], case.scene.ravel()[fitted])
    return np.asarray(forest.predict(features).reshape(case.scene.shape), np.float32)


def tables(kept: Results) -> str:
    """Errors, their differences to the base's in the same gaps, and seconds; below it the scene alone, if measured."""
    sets = {name: list(kept.results[name].values()) for name in kept.results if name != LONE}
    parts = [_table(sets)] if sets else []
    if LONE in kept.results:
        parts.append(lone_table(kept.results[LONE]["0"]))
    return "\n\n".join(parts)


def _table(sets: dict[str, list[Result]]) -> str:
    rows = []
    for method, label in METHODS.items():
        row, seconds = [], []
        for gaps in sets.values():
            those = [gap for gap in gaps if method in gap["errors"]]
            row += [_error(those, len(gaps), method), _difference(those, method)]
            seconds += [gap["seconds"][method] for gap in those]
        if seconds:
            rows.append([label, *row, f"{mean(seconds):.1f}"])
    counts = [f"{name}, {len(gaps)} gaps" for name, gaps in sets.items()]
    header = [part for count in counts for part in (count, "less the base's")]
    return table(["mean absolute error", *header, "seconds"], rows)


def _error(gaps: list[Result], of: int, method: str) -> str:
    if not gaps:
        return ""
    return f"{mean(gap['errors'][method] for gap in gaps):.3f}" + (f" ({len(gaps)} gaps)" if len(gaps) < of else "")


def _difference(gaps: list[Result], method: str) -> str:
    if not gaps or method == BASE:
        return ""
    differences = np.array([gap["errors"][method] - gap["errors"][BASE] for gap in gaps])
    error = differences.std(ddof=1) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    return f"{differences.mean():+.3f} ± {error:.3f}"


def main(
    data: Annotated[list[Path] | None, typer.Argument(help="data sets: history/ static/")] = None,
    gaps: Annotated[int, typer.Option(min=1, help="gaps pasted on each data set")] = 60,
    run_dir: Annotated[Path | None, typer.Option(help="a run that learned from the first data set")] = None,
    heaton: Annotated[Path | None, typer.Option(help="arrays observed and truth of one scene, .npz")] = None,
    processes: Annotated[int, typer.Option(min=1, help="side by side")] = usable_cores(),
    fresh: Annotated[bool, typer.Option(help="forget the results of an earlier call")] = False,
    results: Annotated[Path, typer.Option(help="folder for peers.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the tables")] = DOCUMENT,
) -> None:
    """Compare gap fillers by mean absolute error inside pasted gaps; a later call with more gaps adds to the former."""
    sets = data or []
    if run_dir and not sets:
        raise DataError("a run is judged on the data set that it learned from. Name it.")
    kept = Results("peers", {"run": run_dir and run_dir.name}, fresh, results, document)
    jobs = [
        (one.name, gap, partial(measure, one, gap, run_dir if one == sets[0] else None))
        for gap in range(gaps)
        for one in sets
    ]
    kept.each([*([(LONE, 0, partial(fill_alone, heaton))] if heaton else []), *jobs], processes)
    kept.publish(tables(kept))


if __name__ == "__main__":
    typer.run(main)
