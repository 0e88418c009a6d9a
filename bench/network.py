"""What a trained network adds to the base, on clear days of a history: ``python -m bench.network DATA DATA …``.

The clear days of a data set are dealt into FOLDS. For each of them networks learn from the set without those days,
which are then filled, with gaps pasted on them, from all other days. Runs are of the default configuration, with and
without a population, or with one idea each of what may help; those without a population are judged by the model that
they end with, so that no choice flatters one.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench.results import DOCUMENT, RESULTS, RUNS, Result, Results, table
from miha import GapFill, RunConfig, optimize
from miha.config import Schedule
from miha.evolution.seeds import stream
from miha.gapfill.bagging import mean_correction
from miha.gapfill.base import PROCESS, process_of
from miha.gapfill.cases import Case, pasted_case
from miha.gapfill.days import clear_days
from miha.gapfill.network_filler import MIRRORINGS, NetworkFiller
from miha.gapfill.pretraining import Pretraining
from miha.gapfill.samples import SPLITS
from miha.rasters.stack import Image, list_rasters, read_date
from miha.records.record import model_path
from miha.threads import fixed_threads, usable_cores

FOLDS = 4
BASE, AVERAGED, ONE, UNCHANGED, FOREIGN, ELSEWHERE, HALF, MIHA = (
    "base",
    "base, mean of four",
    "one network, unchanged hyperparameters",
    "four networks, unchanged hyperparameters",
    "trained on the other data sets alone",
    "first trained on the other data sets",
    "networks of MIHA, half of their correction",
    "networks of MIHA",
)
ROWS = (BASE, AVERAGED, ONE, UNCHANGED, FOREIGN, ELSEWHERE, HALF, MIHA)
SMALL = 40  # percent of the scene, from which a gap is large
PATCH = 48  # side of what is learned elsewhere, pixels
DRAWS = 10_000  # of the bootstrap over days


def fold_set(data: Path, fold: int, folder: Path) -> Path:
    """The data set without the clear days of a fold and without ``truth/``, by links."""
    held, pattern = {*fold_days(data, fold)}, GapFill(data=data).date_pattern
    (folder / "history").mkdir(parents=True, exist_ok=True)
    kept = [path for path in list_rasters(data / "history") if read_date(path, pattern).isoformat() not in held]
    parts = [*kept, *(path for path in (data / "static", data / "stack.json") if path.exists())]
    for path in parts:
        if not (link := folder / path.relative_to(data)).exists():
            link.symlink_to(path.absolute())
    return folder


def fold_days(data: Path, fold: int) -> list[str]:
    """The clear days (ISO dates) of a fold."""
    history = GapFill(data=data).history()
    clear = clear_days(history.values)
    order = stream(77, "split").permutation(len(clear))
    return sorted(history.dates[int(clear[number])].isoformat() for number in order[fold::FOLDS])


def learn(row: str, learned: Path, seed: int, folder: Path, settings: dict[str, Any], elsewhere: Path | None) -> Path:
    """Train the network of a row, or continue; networks of the same samples share them.

    Args:
        row: one of ROWS.
        learned: the data set.
        seed: of the run.
        folder: of all runs of a fold.
        settings: of all of them.
        elsewhere: the model to start from.

    Returns:
        The run directory.
    """
    problem = GapFill(data=learned, test_fraction=0, **settings.get("problem", {}))
    schedule = Schedule(**settings.get("schedule", {}))
    if row == ONE:
        problem = problem.model_copy(update={"members": 1})
    run_dir, cache = folder / f"{ROWS.index(row)}-{seed}", folder / f"cache-{problem.members}-{seed}"
    for one in (run_dir, cache):
        one.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "cache").exists():
        (run_dir / "cache").symlink_to(cache.absolute(), target_is_directory=True)
    optimize(
        RunConfig(
            problem=problem,
            schedule=schedule.model_copy(update={"insist": row != MIHA}),
            run_dir=run_dir,
            seed=seed,
            unchanged=row != MIHA,
            pretrained=elsewhere if row == ELSEWHERE else None,
            run={"workers": 1, "device": "cpu"},
        )
    )
    return run_dir


def trained_elsewhere(data: Path, others: Sequence[Path], runs: Path, settings: dict[str, Any]) -> Path:
    """A model that learned from other data sets."""
    folder = runs / f"{data.name}-elsewhere"
    for one in others:
        if not (link := folder / "sets" / one.name).exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(one.absolute(), target_is_directory=True)
    problem = settings.get("problem", {})
    many = {name: len(others) * getattr(GapFill(data=data, **problem), f"{name}_samples") for name in SPLITS}
    samples = {f"{name}_samples": number for name, number in many.items()}
    small = {"patch": min(PATCH, problem.get("patch", PATCH)), "test_fraction": 0}
    optimize(
        RunConfig(
            problem=Pretraining(data=folder / "sets", **{**problem, **samples, **small}),
            schedule={**settings.get("schedule", {}), "insist": True},
            run_dir=folder / "run",
            unchanged=True,
            run={"workers": 1, "device": "cpu"},
        )
    )
    return model_path(folder / "run", "final")


@fixed_threads(1)
def measure(
    data: Path, fold: int, gaps: int, runs: Path, settings: dict[str, Any], elsewhere: Path | None = None
) -> Result:
    """Mean absolute errors by ROWS inside ``gaps`` gaps pasted on each day of a fold."""
    folder = runs / f"{data.name}-{fold}"
    learned, fillers = fold_set(data, fold, folder / "data"), {}
    for row in (ONE, UNCHANGED, ELSEWHERE, MIHA):
        if row != ELSEWHERE or elsewhere:
            run_dir = learn(row, learned, fold, folder, settings, elsewhere)
            fillers[row] = NetworkFiller(model_path(run_dir, "best" if row == MIHA else "final"), data)
    if elsewhere:
        fillers[FOREIGN] = NetworkFiller(elsewhere, data)
    ours = fillers[MIHA]
    history, held = ours.history, fold_days(data, fold)
    days = [number for number, when in enumerate(history.dates) if when.isoformat() in held]
    cases = [pasted_case(history, day, day * gaps + number, ours.static) for day in days for number in range(gaps)]
    return {
        "gaps": [
            {"day": case.day.isoformat(), "gap": case.gap, "errors": {row: case.error(v) for row, v in ways}}
            for case, ways in ((case, filled(case, fillers)) for case in cases)
        ],
        "best": ours.manifest.record.stage.name,
    }


def filled(case: Case, fillers: dict[str, NetworkFiller]) -> Iterator[tuple[str, Image]]:
    """A gap as each row fills it; networks as ``miha fill`` asks them."""
    ours, scene, background = fillers[MIHA], case.scene, case.background
    process = process_of(scene, background, case.static, stream(0, "fill", PROCESS))
    encoded = [
        ours.problem.encode(scene, background, case.static, stream(0, "fill", number), process=process)
        for number in range(len(MIRRORINGS))
    ]
    yield BASE, encoded[0].base
    base = np.mean([one.base for one in encoded], axis=0)
    yield AVERAGED, base
    for row, filler in fillers.items():
        with torch.inference_mode():
            outputs = [
                one.scale
                * mean_correction(filler.network, torch.from_numpy(one.channels)[None].flip(axes)).flip(axes)[0].numpy()
                for one, axes in zip(encoded, MIRRORINGS, strict=True)
            ]
        correction = np.mean(outputs, axis=0)
        yield row, base + correction
        if row == MIHA:
            yield HALF, base + correction / 2


def tables(kept: Results) -> str:
    """For each data set the error of each row, and its ratio to that of the base: of all gaps, small and large ones."""
    parts = []
    for name, folds in sorted(kept.results.items()):
        gaps = [gap for _, fold in sorted(folds.items()) for gap in fold["gaps"]]
        days = len({gap["day"] for gap in gaps})
        sizes = f"ratio, gaps under {SMALL} %", f"{SMALL} % and more"
        header = [f"{name}: {len(gaps)} gaps on {days} days", "mean absolute error", "ratio to the base", *sizes]
        parts.append(table(header, [_row(row, gaps) for row in ROWS if row in gaps[0]["errors"]]))
        by_fold = [f"{fold['best']} {_ratio(MIHA, fold['gaps']).split()[0]}" for _, fold in sorted(folds.items())]
        beside = _ratio(MIHA, gaps, to=UNCHANGED)
        parts.append(f"Best models of MIHA's runs, and their ratios, by fold: {', '.join(by_fold)}.")
        parts.append(f"Error of MIHA's over that of {UNCHANGED}: {beside}.")
    return "\n\n".join(parts)


def _row(row: str, gaps: list[dict[str, Any]]) -> list[str]:
    error = f"{mean(gap['errors'][row] for gap in gaps):.4f}"
    if row == BASE:
        return [row, error, "1", "1", "1"]
    small, large = ([gap for gap in gaps if (int(gap["gap"]) >= SMALL) == wanted] for wanted in (False, True))
    return [row, error, *(_ratio(row, some) for some in (gaps, small, large))]


def _ratio(row: str, gaps: list[dict[str, Any]], to: str = BASE) -> str:
    """Ratio of a row's mean error to another's, with its 95 % interval by a bootstrap over days; of no gap nothing."""
    if not gaps:
        return ""
    days = sorted({gap["day"] for gap in gaps})
    sums = np.zeros((len(days), 2))
    for gap in gaps:
        sums[days.index(gap["day"])] += gap["errors"][row], gap["errors"][to]
    drawn = stream(0, "samples", 4).multinomial(len(days), np.full(len(days), 1 / len(days)), DRAWS) @ sums
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return f"{math.fsum(sums[:, 0]) / math.fsum(sums[:, 1]):.3f} ({low:.3f}–{high:.3f})"


def main(
    data: Annotated[list[Path], typer.Argument(help="data sets: history/ static/")],
    gaps: Annotated[int, typer.Option(min=1, help="gaps pasted on each clear day")] = 8,
    folds: Annotated[int, typer.Option(min=1, max=FOLDS, help="how many of the folds are measured")] = FOLDS,
    processes: Annotated[int, typer.Option(min=1, help="side by side")] = usable_cores(),
    elsewhere: Annotated[bool, typer.Option(help="train networks on the other data sets as well")] = True,
    fresh: Annotated[bool, typer.Option(help="forget the results of an earlier call")] = False,
    runs: Annotated[Path, typer.Option(help="folder for the runs")] = RUNS / "network",
    results: Annotated[Path, typer.Option(help="folder for network.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the table")] = DOCUMENT,
) -> None:
    """Compare trained networks with the base they start from."""
    kept = Results("network", {"gaps": gaps, "elsewhere": elsewhere}, fresh, results, document)
    jobs = []
    for one in data:
        missing = [fold for fold in range(folds) if not kept.has(one.name, fold)]
        others = [other for other in data if other != one] if elsewhere else []
        start = trained_elsewhere(one, others, runs, {}) if missing and others else None
        jobs += [(one.name, fold, partial(measure, one, fold, gaps, runs, {}, start)) for fold in missing]
    kept.each(jobs, processes)
    kept.publish(tables(kept))


if __name__ == "__main__":
    typer.run(main)
