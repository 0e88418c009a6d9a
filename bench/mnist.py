"""Digits at one budget of epochs: MIHA beside an unchanged network, Optuna and Ray Tune: ``python -m bench.mnist``."""

import re
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.results import DOCUMENT, RESULTS, RUNS, Result, Results, spread, table
from bench.runs import ARTICLE_OPERATORS, DIGITS_BATCH, count_parameters, figures_of
from bench.tuners import NEEDS, OPTUNA, PB2, PBT, is_missing, search_with
from miha import Mnist, RunConfig, optimize
from miha.config import Schedule
from miha.evolution.point import SearchSpace
from miha.problems.judgement import OURS
from miha.problems.registry import archived_problem
from miha.records.archive import read_manifest

TRIAL_EPOCHS = 44  # of Optuna

UNCHANGED, ARTICLES, FULL = "unchanged", "MIHA, article's operators", "MIHA, all operators"
STRONG, STRONGLY = "strong start, unchanged", "MIHA, strong start"
OURS_HERE = (UNCHANGED, ARTICLES, FULL, STRONG, STRONGLY)
COLUMNS = (*OURS_HERE, *NEEDS)

# What one who knows the field would choose.
STRONG_START = {
    "optimizer": "AdamW",
    "lr": 1e-3,
    "weight_decay": 0.01,
    "batch_size": DIGITS_BATCH,
    "loss": "label_smoothing",
    "augmentation": 1.0,
}
ALL = {**SearchSpace().operators, "augmentation": 3.0}
OPERATORS: dict[str, dict[str, float]] = {
    **dict.fromkeys((FULL, OPTUNA, PBT, PB2), ALL),
    # Without the loss: validation by cross-entropy would part with label smoothing at once, for it costs confidence.
    STRONGLY: {**SearchSpace().operators, "loss": 0.0},
}


def configuration(column: str, problem: Mnist, schedule: Schedule, runs: Path, seed: int) -> RunConfig:
    """The run of a column; all are of one budget."""
    changed: dict[str, Any] = {}
    if column == STRONG:  # annealed from the first epoch to the last
        changed = {"initial_epochs": 1, "cycles": 0, "final_epochs": schedule.budget - 1}
    if column == STRONGLY:  # one short population: what it costs, the start could have trained
        left_out = (schedule.cycles - 1) * schedule.cycle_epochs
        changed = {"cycles": 1, "final_epochs": schedule.closing_epochs + left_out, "soups": True, "own_orders": True}
    return RunConfig(
        problem=problem,
        run_dir=runs / f"{re.sub('[^a-z]+', '-', column.lower())}-{seed}",
        seed=seed,
        schedule={**schedule.model_dump(), **changed},
        start=STRONG_START if column in (STRONG, STRONGLY) else {"batch_size": DIGITS_BATCH},
        search={"operators": OPERATORS.get(column, ARTICLE_OPERATORS), "crossovers": 0},  # nine draws are all
        fitness={"noise": 2.0 if column == STRONGLY else 1.0},  # the best of three is ahead by luck
        unchanged=column in (UNCHANGED, STRONG),
        run={"workers": 1},
    )


def run_miha(column: str, problem: Mnist, schedule: Schedule, runs: Path, seed: int) -> Result:
    """One run of MIHA, which continues if it was interrupted, and its best model's accuracy."""
    config = configuration(column, problem, schedule, runs, seed)
    run = optimize(config)
    return {**accuracies(run.model, problem.data), **figures_of(run)}


def run_tuner(column: str, problem: Mnist, schedule: Schedule, trial_epochs: int, runs: Path, seed: int) -> Result:
    """One search of another tuner, and its best model's accuracy."""
    config = configuration(column, problem, schedule, runs, seed)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    found = search_with(column, config, model := config.run_dir / "model.zip", trial_epochs)
    return {**found, **accuracies(model, problem.data)}


def accuracies(model: Path, data: Path) -> Result:
    """Accuracies of a model on the test digits, and how many parameters it has."""
    trained = archived_problem(read_manifest(model).problem, data)
    judged = trained.judge({OURS: model}, Path(), 0).metrics
    found = {key: judged[key] for key in ("accuracy", "accuracy_first_500")}
    return {**found, "parameters": count_parameters(trained.build_network())}


def rows_of(results: Results) -> list[list[str]]:
    """A row for each method that was measured."""
    rows = []
    for column in filter(results.results.__contains__, COLUMNS):
        figures = {
            key: results.values(column, key)
            for key in ("accuracy", "accuracy_first_500", "epochs", "seconds", "parameters")
        }
        rows.append(
            [
                column,
                spread(figures["accuracy"]),
                spread(figures["accuracy_first_500"]),
                f"{sum(figures['epochs']) / len(figures['epochs']):.0f}",
                spread(figures["seconds"], ".0f"),
                f"{sum(figures['parameters']) / len(figures['parameters']):,.0f}",
                str(len(figures["accuracy"])),
            ]
        )
    return rows


def main(
    seeds: Annotated[int, typer.Option(min=1, help="runs of each method, seeds 0, 1, …")] = 5,
    data: Annotated[Path, typer.Option(help="folder that `miha fetch mnist` wrote")] = Path("data/raw/mnist"),
    initial_epochs: Annotated[int, typer.Option(min=1, help="m, epochs before the first population")] = 6,
    cycles: Annotated[int, typer.Option(min=0, help="c")] = 3,
    candidate_epochs: Annotated[int, typer.Option(min=1, help="n, epochs of each of 4 candidates, annealed")] = 6,
    fixing_epochs: Annotated[int, typer.Option(min=1, help="k, epochs of the winner")] = 2,
    final_epochs: Annotated[int, typer.Option(min=1, help="epochs at the end, annealed")] = 92,
    trial_epochs: Annotated[
        int, typer.Option(min=1, help="epochs of an Optuna trial that is not pruned")
    ] = TRIAL_EPOCHS,
    samples: Annotated[int, typer.Option(min=100, max=60_000, help="training digits, validation among them")] = 10_000,
    only: Annotated[list[str], typer.Option(help="methods whose name contains this; repeatable; default: all")] = [],  # noqa: B006
    processes: Annotated[int, typer.Option(min=1, help="runs side by side, each in one process")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="measure anew what an earlier call has measured")] = False,
    runs: Annotated[Path, typer.Option(help="folder for MIHA's runs")] = RUNS / "mnist",
    results: Annotated[Path, typer.Option(help="folder for mnist.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the table")] = DOCUMENT,
) -> None:
    """Compare accuracy on the test digits at one budget of epochs; a population's, and pruned trials', are counted."""
    schedule = Schedule(
        initial_epochs=initial_epochs,
        cycles=cycles,
        candidate_epochs=candidate_epochs,
        fixing_epochs=fixing_epochs,
        final_epochs=final_epochs,
        candidate_annealing=True,
    )
    problem = Mnist(data=data, samples=samples)
    settings = {
        "schedule": schedule.model_dump(),
        "trial_epochs": trial_epochs,
        "samples": samples,
        "batch": DIGITS_BATCH,
        "strong": STRONG_START,
    }
    kept = Results("mnist", settings, fresh, results, document)
    methods = {column: partial(run_miha, column, problem, schedule, runs) for column in OURS_HERE}
    methods |= {column: partial(run_tuner, column, problem, schedule, trial_epochs, runs) for column in NEEDS}
    chosen = [column for column in COLUMNS if not only or any(word in column for word in only)]
    chosen = [column for column in chosen if not is_missing(column)]
    started = time.monotonic()
    kept.each([(column, seed, partial(methods[column], seed)) for seed in range(seeds) for column in chosen], processes)
    kept.save()
    print(f"{schedule.budget} epochs each; {time.monotonic() - started:.0f} s")
    kept.publish(
        table(
            ["method", "10,000 test digits", "the first 500", "epochs", "seconds", "parameters", "seeds"], rows_of(kept)
        )
    )


if __name__ == "__main__":
    typer.run(main)
