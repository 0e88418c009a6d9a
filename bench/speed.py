"""Speed, as ratios against references timed in the same run: ``python -m bench.speed``."""

import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from bench import growth
from bench.loops import NoiseDigits, NoiseScenes, NoiseScenesInRows, Task, bare_epochs, our_epochs, usual_epochs
from bench.results import DOCUMENT, RESULTS, ROOT, Result, Results, spread, table
from bench.runs import ARTICLE_OPERATORS
from miha import GapFill, Problem, RunConfig, optimize
from miha.plan import Plan
from miha.rasters.simulate import simulate
from miha.records.record import model_path
from miha.threads import fixed_threads
from miha.training.compute import resolve_precision
from miha.training.spec import longest_first
from miha.training.stage import run_stage
from miha.training.workers import compute_all, working

POPULATION = 8


class Part(StrEnum):
    """What can be measured."""

    loop = "loop"
    population = "population"
    precision = "precision"
    growth = "growth"
    start = "start"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _tasks() -> dict[str, tuple[Problem, int, int]]:
    """Problem, batch size and epochs to time."""
    return {"FNN": (NoiseDigits(), 32, 4), "U-Net": (NoiseScenes(), 16, 1)}


# ---------------------------------------------------------------- the loop


def measure_loops(results: Results, repeats: int) -> None:
    """Epochs per second of our loop, the usual one, and a bare one, each in turn and on one thread."""
    for name, (problem, batch_size, epochs) in _tasks().items():
        task = Task(problem, batch_size)
        loops = {"ours": our_epochs, "usual": usual_epochs, "bare": bare_epochs}

        def once(task: Task = task, epochs: int = epochs, loops: dict = loops) -> Result:
            return {kind: epochs / _seconds(lambda run=run: run(task, epochs)) for kind, run in loops.items()}

        with fixed_threads(1):
            our_epochs(task, 1)
            for repeat in range(repeats):
                results.once(f"loop {name}", repeat, once)


# ---------------------------------------------------------------- the population


def _population_seconds(problem: Problem, batch_size: int, threads: int) -> float:
    """Seconds to train a population of two epochs each, in what is warm."""
    with TemporaryDirectory() as folder:
        config = RunConfig(
            run_dir=Path(folder),
            problem=problem,
            schedule={"initial_epochs": 1, "population_size": POPULATION, "candidate_epochs": 2},
            start={"batch_size": batch_size},
            search={"operators": ARTICLE_OPERATORS},
            run={"threads": threads},
        )
        plan = Plan.of(config)
        population = longest_first(plan.population(1, run_stage(plan.initial(run_stage(plan.base()))), []))
        compute_all(run_stage, population)
        shutil.rmtree(Path(folder) / "population")
        return _seconds(lambda: compute_all(run_stage, population))


def measure_population(results: Results, repeats: int) -> None:
    """Candidates side by side on one thread each, against one after another on two."""
    for name, (problem, batch_size, _) in _tasks().items():

        def once(problem: Problem = problem, batch_size: int = batch_size) -> Result:
            with working(2):
                together = _population_seconds(problem, batch_size, threads=1)
            return {"together": together, "in turn": _population_seconds(problem, batch_size, threads=2)}

        for repeat in range(repeats):
            results.once(f"population {name}", repeat, once)


# ---------------------------------------------------------------- precision


def measure_precision(results: Results, repeats: int, epochs: int) -> None:
    """Epochs per second of the U-Net in bfloat16 and float32, and of both networks in both orders of memory.

    Where the processor has bfloat16 also the final error of both on simulated scenes; an emulated one takes too long.
    """
    task, in_rows = Task(NoiseScenes(), 16), Task(NoiseScenesInRows(), 16)
    kinds: dict[str, Callable[[], None]] = {
        "float32, rows": lambda: our_epochs(in_rows, 1),
        "float32, channels last": lambda: our_epochs(task, 1),
        "bfloat16, channels last": lambda: our_epochs(task, 1, "bfloat16"),
    }
    simple, simple_in_rows = (Task(kind(network="autoencoder"), 32) for kind in (NoiseScenes, NoiseScenesInRows))
    orders = {"rows": lambda: our_epochs(simple_in_rows, 1), "channels last": lambda: our_epochs(simple, 1)}
    with fixed_threads(1):
        our_epochs(task, 1)
        for repeat in range(repeats):
            for column, runs in (("precision", kinds), ("order", orders)):
                results.once(column, repeat, lambda runs=runs: {kind: 1 / _seconds(run) for kind, run in runs.items()})
    for seed in range(3 if resolve_precision("auto", "cpu", task.problem) == "bfloat16" else 0):
        results.once("precision error", seed, lambda seed=seed: _errors(seed, epochs))


def _errors(seed: int, epochs: int) -> Result:
    """Validation loss (standardised mean absolute error) after the last epoch, same seed and data, by precision."""
    errors: Result = {}
    with TemporaryDirectory() as folder:
        simulate(Path(folder) / "scenes", days=20, height=48, width=48, seed=seed)
        for precision in ("float32", "bfloat16"):
            problem = GapFill(data=Path(folder) / "scenes", train_samples=64, valid_samples=32)
            schedule = {"initial_epochs": 1, "cycles": 0, "final_epochs": epochs}
            run = {"precision": precision, "workers": 2}
            config = RunConfig(problem=problem, run_dir=Path(folder) / precision, seed=seed, schedule=schedule, run=run)
            errors[precision] = float(optimize(config).history.valid_loss.iloc[-1])
    return errors


# ---------------------------------------------------------------- growth


GROWTH = {  # what the sizes are, and the sizes
    "stage": ("pixels", growth.SIDES),
    "fill": ("pixels", growth.SIDES),
    "candidates": ("candidates", growth.CANDIDATES),
}


def measure_growth(results: Results, repeats: int) -> None:
    """Seconds and peak memory at sizes that double four times."""
    with TemporaryDirectory() as folder:
        for work, (_, sizes) in GROWTH.items():
            for repeat in range(repeats):

                def once(work: str = work, sizes: Sequence[Sequence[int]] = sizes) -> Result:
                    if work == "fill" and not (Path(folder) / "run").exists():
                        growth.prepare_scenes(Path(folder))
                    figures = [growth.measured(work, size, Path(folder)) for size in sizes]
                    return {key: [figure[key] for figure in figures] for key in ("seconds", "mebibytes")}

                results.once(f"growth {work}", repeat, once)


def growth_rows(results: Results) -> list[list[str]]:
    """Of each kind of work the exponents of the medians over the repeats."""
    rows = []
    for work, (what, shapes) in GROWTH.items():
        if f"growth {work}" in results.results:
            sizes, cells = list(map(math.prod, shapes)), []
            for key in ("seconds", "mebibytes"):
                medians = list(map(statistics.median, zip(*results.values(f"growth {work}", key), strict=True)))
                cells.append(f"{growth.exponent(sizes, medians):.2f} ({medians[0]:.3g} → {medians[-1]:.3g})")
            rows.append(
                [
                    f"{work}: {what} {sizes[0]} → {sizes[-1]}, exponent",
                    f"time, s: {cells[0]}",
                    f"MiB: {cells[1]}",
                    "≤ 1.05",
                ]
            )
    return rows


# ---------------------------------------------------------------- start-up


def measure_start(results: Results, repeats: int, digits: Path) -> None:
    """Seconds of ``miha --help``, and of ``miha optimize`` on the digits until its first epoch is trained."""
    miha = [sys.executable, "-c", "from flows.cli import main; main()"]

    def once() -> Result:
        seconds = _seconds(lambda: subprocess.run([*miha, "--help"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True))
        with TemporaryDirectory() as folder:
            command = [*miha, "optimize", "--no-prefect", "--problem", "mnist", "--data", str(digits.absolute())]
            command += ["--run-dir", folder, "--set", "schedule.initial_epochs=1", "--set", "schedule.cycles=0"]
            first = model_path(Path(folder), "init")
            return {"help": seconds, "first epoch": _seconds(lambda: _run_until(command, first))}

    for repeat in range(repeats):
        results.once("start", repeat, once)


def _run_until(command: list[str], file: Path) -> None:
    """Run a command until it has written a file, then end it."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while not (found := file.exists()) and process.poll() is None:
            time.sleep(0.005)
        process.terminate()
    if not found:
        raise RuntimeError(f"{' '.join(command)} ended before it wrote {file}")


# ---------------------------------------------------------------- the table


def _ratio(results: Results, column: str, over: str, under: str) -> str:
    """Median over the repeats of one figure over another, and the range."""
    ratios = [a / b for a, b in zip(results.values(column, over), results.values(column, under), strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _median(results: Results, column: str, key: str, form: str = ".2f") -> str:
    return format(statistics.median(results.values(column, key)), form)


def rows_of(results: Results) -> list[list[str]]:
    """All that was measured: what, ours and the reference, the ratio, the aim."""
    rows = []
    for name in _tasks():
        if (column := f"loop {name}") in results.results:
            ours = f"{_median(results, column, 'ours')} epochs/s"
            for reference, label, aims in (
                ("usual", "DataLoader and default Adam", {"FNN": "≥ 2.5"}),
                ("bare", "bare loop, fused Adam", {"FNN": "≥ 0.95", "U-Net": "≥ 0.95"}),
            ):
                figures = f"{ours} / {_median(results, column, reference)}"
                rows.append(
                    [
                        f"{name}: our loop / {label}",
                        figures,
                        _ratio(results, column, "ours", reference),
                        aims.get(name, ""),
                    ]
                )
    for name in _tasks():
        if (column := f"population {name}") in results.results:
            figures = f"{_median(results, column, 'in turn')} s / {_median(results, column, 'together')} s"
            rows.append(
                [
                    f"{name}: {POPULATION} candidates in turn on 2 threads / 2 at a time on 1",
                    figures,
                    _ratio(results, column, "in turn", "together"),
                    "≥ 1.6",
                ]
            )
    if "precision" in results.results:
        for kind, aim in (("bfloat16, channels last", "≥ 1.8"), ("float32, channels last", "")):
            figures = (
                f"{_median(results, 'precision', kind)} / {_median(results, 'precision', 'float32, rows')} epochs/s"
            )
            rows.append(
                [f"U-Net: {kind} / float32, rows", figures, _ratio(results, "precision", kind, "float32, rows"), aim]
            )
    if "order" in results.results:
        figures = f"{_median(results, 'order', 'channels last')} / {_median(results, 'order', 'rows')} epochs/s"
        ratio = _ratio(results, "order", "channels last", "rows")
        rows.append(["autoencoder: float32, channels last / float32, rows", figures, ratio, ""])
    if "precision error" in results.results:
        figures = " / ".join(spread(results.values("precision error", kind)) for kind in ("bfloat16", "float32"))
        rows.append(
            [
                "U-Net: final error, bfloat16 / float32",
                figures,
                _ratio(results, "precision error", "bfloat16", "float32"),
                "within the seeds' spread",
            ]
        )
    rows += growth_rows(results)
    if "start" in results.results:
        for key, label, aim in (
            ("help", "miha --help", "< 0.5 s"),
            ("first epoch", "miha optimize --no-prefect, digits: first epoch trained", "< 5 s"),
        ):
            rows.append([label, "", f"{_median(results, 'start', key)} s", aim])
    return rows


def main(
    repeats: Annotated[int, typer.Option(min=1, help="times each figure is taken")] = 7,
    growth_repeats: Annotated[int, typer.Option(min=1, help="the same of growth, whose every size is a process")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="epochs after which both precisions are compared")] = 20,
    only: Annotated[list[Part], typer.Option(help="what to measure; repeatable; default: all")] = [],  # noqa: B006
    digits: Annotated[Path, typer.Option(help="folder that `miha fetch mnist` wrote")] = Path("data/raw/mnist"),
    fresh: Annotated[bool, typer.Option("--fresh", help="measure anew what an earlier call has measured")] = False,
    results: Annotated[Path, typer.Option(help="folder for speed.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the table")] = DOCUMENT,
) -> None:
    """Time the loop, the population, bfloat16, growth with the work, and start-up. The machine should be idle."""
    torch.manual_seed(0)
    kept = Results("speed", {"epochs": epochs}, fresh, results, document)
    parts: dict[Part, Callable[[], None]] = {
        Part.loop: lambda: measure_loops(kept, repeats),
        Part.population: lambda: measure_population(kept, repeats),
        Part.precision: lambda: measure_precision(kept, repeats, epochs),
        Part.growth: lambda: measure_growth(kept, growth_repeats),
        Part.start: lambda: measure_start(kept, repeats, digits),
    }
    for part, measure in parts.items():
        if not only or part in only:
            measure()
    kept.save()
    kept.publish(table(["what", "figures, medians", "ratio: median (range)", "aim"], rows_of(kept)))


if __name__ == "__main__":
    typer.run(main)
