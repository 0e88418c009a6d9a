"""What each part of the population is worth, at equal epochs, on several trainings: ``python -m bench.tuning``."""

import math
import re
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import typer

from bench.experience import counted, experience_table, learned
from bench.heldout import without_truth
from bench.results import DOCUMENT, RESULTS, RUNS, Job, Result, Results, spread, table
from bench.runs import figures_of
from bench.stacks import stack
from bench.tuners import OPTUNA, PB2, PBT, is_missing, search_with
from bench.tuning_tasks import UNITS, Task, tasks
from miha import RunConfig, optimize, plan
from miha.config import Schedule
from miha.evolution.change import UNCHANGED, Change, Child
from miha.evolution.fitness import FitnessSettings
from miha.evolution.population import generate_population
from miha.evolution.prior import Tally
from miha.evolution.steps import FILE, Step, read_steps
from miha.problems.problem import Problem
from miha.records.tables import read_prior, read_tables
from miha.tuning import FITNESS, split

ARTICLE, STRONG, ALONE = "article's start, unchanged", "strong start, unchanged", "selection alone"
BEFORE = "MIHA"
STRONGLY = "MIHA, strong start"
BY_CHANNEL = "MIHA, activations by channel"
RACE = {"population_size": 6, "racing": 1, "candidate_epochs": 3}  # 6·1 + 3·2 = 4·3
SOUPS = "MIHA, averaged weights, soups of own orders"  # tells what directions of changes are worth
TUNED, UNTAUGHT = "miha.tune", "miha.tune without experience"
AVERAGED = {"averaging": 1.0, "candidate_annealing": False}
OPTIONS: dict[str, dict[str, Any]] = {
    BEFORE: {},
    "MIHA, soups": {"soups": True},
    "MIHA, own orders": {"own_orders": True},
    "MIHA, soups of own orders": {"soups": True, "own_orders": True},
    "MIHA, racing": RACE,
    "MIHA, put off": {"put_off": True},
    "MIHA, averaged weights": {"averaging": 1.0},
    "MIHA, averaged weights, candidates not annealed": AVERAGED,
    SOUPS: {**AVERAGED, "soups": True, "own_orders": True},
    UNTAUGHT: {},
    TUNED: {},
    "MIHA, gentle swaps": {"transition": 1},
    BY_CHANNEL: {},
    STRONGLY: {},
}
PRIOR, BOTH = "MIHA, prior", "MIHA, soups of own orders, prior"
REPLAY, RANDOM = "MIHA's schedule replayed", "random search, constant"
DRAWS, CHANGES = 3, 2  # settings that the random search tries, and how many changes away from the start they are
OTHERS = (OPTUNA, PBT, PB2)
COLUMNS = (ARTICLE, STRONG, ALONE, RANDOM, *OTHERS, *OPTIONS, PRIOR, BOTH, REPLAY)


@contextmanager
def without_changes() -> Iterator[None]:
    """A population of equals, each with an order of samples of its own."""

    def equals(parent: Any, space: Any, offer: Any, size: int, *rest: Any, **options: Any) -> list[Child]:
        changes = [UNCHANGED, *(Change(operator="order", target="order", after=n) for n in range(1, size))]
        return [Child(parent, change) for change in changes]

    with patch.object(plan, "generate_population", equals):
        yield


def configuration(task: Task, problem: Problem, column: str, seed: int, run_dir: Path) -> RunConfig:
    """The run of a column, but for what it takes from earlier runs."""
    also = "MIHA, soups of own orders" if column == BOTH else column
    schedule: dict[str, Any] = {**task.schedule, **OPTIONS.get(also, {})}
    budget = Schedule(**schedule).budget
    if column == ALONE:
        schedule |= {"own_orders": True}
    operators = task.operators
    if column == BY_CHANNEL:  # half of the turns of activations
        half = operators.get("activation", 0.0) / 2
        operators = {**operators, "activation": half, "neuron_activation": half}
    if column in (TUNED, UNTAUGHT):
        schedule = split(budget).model_dump()
    if column == STRONG:  # annealed from the first epoch to the last
        schedule = {"initial_epochs": 1, "cycles": 0, "final_epochs": budget - 1}
    return RunConfig(
        problem=problem,
        run_dir=run_dir,
        seed=seed,
        schedule=schedule,
        start=task.strong if column in (STRONG, STRONGLY) else task.start,
        search={"operators": operators, "crossovers": 0 if column == ALONE else 1, "experience": column == TUNED},
        fitness=FITNESS if column in (TUNED, UNTAUGHT) else FitnessSettings(),
        unchanged=column in (ARTICLE, STRONG),
        run={"workers": 1, "device": "cpu", "precision": "float32"},
    )


def run_one(
    name: str, column: str, seed: int, digits: Path, scenes: Path, year: Path, runs: Path, known: Tally
) -> Result:
    """One run in this process alone, and the error of its best model on the test.

    Args:
        known: what directions of changes were worth in other tasks, for the column TUNED.
    """
    task = tasks(digits, scenes, year)[name]
    problem, run_dir = task.problem(), runs / f"{name}-{re.sub('[^a-z]+', '-', column.lower())}-{seed}"
    shared = runs / "samples" / f"{name}-{seed}"
    for folder in (run_dir, shared):
        folder.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "cache").exists():
        (run_dir / "cache").symlink_to(shared.absolute(), target_is_directory=True)
    config = configuration(task, problem, column, seed, run_dir)
    if column in OTHERS:
        found = search_with(column, config, model := run_dir / "model.zip", config.budget // DRAWS)
        error, loss = task.errors(problem, model)
        shutil.rmtree(run_dir)
        return {**found, "error": error, "loss": loss, "used": None, "won": ""}
    if column in (PRIOR, BOTH):
        earlier = [run_before(task, problem, seed + 100 * number, run_dir / f"before{number}") for number in (1, 2)]
        config = config.model_copy(update={"search": config.search.model_copy(update={"prior": tuple(earlier)})})
    if column == REPLAY:
        before = run_before(task, problem, seed + 100, run_dir / "before")
        config = config.model_copy(update={"replay": tuple(read_steps(before / FILE))})
    if column == RANDOM:
        runs_made = [optimize(one) for one in random_search(config)]
        run = min(runs_made, key=lambda one: one.best.valid_loss)
        sums = {key: sum(figures_of(one)[key] for one in runs_made) for key in ("epochs", "seconds")}
    else:
        with without_changes() if column == ALONE else patch.object(plan, "EXPERIENCE", known):
            run = optimize(config)
        sums = {}
    used = None if column == RANDOM else share_that_went_on(run_dir)
    tried = counted(read_prior([run_dir])) if column in OPTIONS else {}
    error, loss = task.errors(problem, run.model)
    figures = figures_of(run)
    result = {
        "error": error,
        "loss": loss,
        "valid_loss": run.best.valid_loss,
        **{key: figures[key] for key in ("epochs", "seconds")},
        **sums,
        "used": used,
        "won": ", ".join(winner_of(one) for one in figures["won"]),
        "tried": tried,
    }
    shutil.rmtree(run_dir)  # gigabytes in all
    return result


def winner_of(won: dict[str, Any]) -> str:
    """What won a cycle: an operator, a soup, or the control."""
    return "a soup" if won["members"] else won["operator"] or "the control"


def run_before(task: Task, problem: Problem, seed: int, run_dir: Path) -> Path:
    """A run of MIHA with another seed, from which another can learn; its epochs are not counted."""
    return optimize(configuration(task, problem, BEFORE, seed, run_dir)).run_dir


def random_search(config: RunConfig) -> Iterator[RunConfig]:
    """Trainings with constant settings drawn at random, annealed over all their epochs; together of one budget."""
    drawn, epochs = plan.Plan.of(config), config.budget // DRAWS
    for number in range(DRAWS):
        point = drawn.start
        for change in range(CHANGES):
            space, offer = config.search, drawn.offer
            point = generate_population(point, space, offer, 2, config.seed + 1000 * number, 10 + change)[1].point
        first, rest = Step(epochs=1, set=point.model_dump()), Step(epochs=epochs - 1, annealing=True)
        yield config.model_copy(update={"replay": (first, rest), "run_dir": config.run_dir / f"draw{number}"})


def share_that_went_on(run_dir: Path) -> float | None:
    """What part of the epochs that candidates trained is in the mainline, a soup's members all counted."""
    history, population = read_tables(run_dir)
    trained = history[history.stage.isin(["candidate", "heat"])].groupby(["cycle", "candidate"]).size()
    if trained.empty:
        return None
    went_on = 0
    for winner in population[population.selected].itertuples():
        for number in map(int, str(winner.members).split() or [winner.candidate]):
            went_on += int(trained[(winner.cycle, number)])
    return went_on / int(trained.sum())


def key_of(task: str, column: str) -> str:
    """What the results of a task and column are called."""
    return f"{task}: {column}"


def ratios(results: Results, task: str, column: str, against: str, key: str = "error") -> list[float]:
    """Error (or loss) of a column over that of another with the same seed, for each seed that both have."""
    above, below = (results.results.get(key_of(task, name), {}) for name in (column, against))
    return [above[seed][key] / below[seed][key] for seed in sorted(above.keys() & below.keys(), key=int)]


def median_of(values: list[float]) -> str:
    """Geometric mean of ratios, with its 95 % confidence interval (t of their logarithms)."""
    logs = [math.log(value) for value in values]
    mean = statistics.mean(logs)
    if len(logs) < 2:
        return f"{math.exp(mean):.2f}"
    point = STUDENT[min(len(logs) - 2, len(STUDENT) - 1)]  # of more pairs the interval is a little too wide
    half = point * statistics.stdev(logs) / math.sqrt(len(logs))
    return f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f}–{math.exp(mean + half):.2f})"


def error_table(results: Results, task: str, unit: str) -> str:
    """Table: errors of a task, and their ratios to two columns."""
    rows = []
    for column in COLUMNS:
        if (key := key_of(task, column)) in results.results:
            used = [one["used"] for one in results.results[key].values() if one["used"] is not None]
            rows.append(
                [
                    column,
                    spread(results.values(key, "error"), ".3f"),
                    *(
                        median_of(found) if (found := ratios(results, task, column, one)) else ""
                        for one in (STRONG, BEFORE)
                    ),
                    f"{statistics.mean(results.values(key, 'epochs')):.0f}",
                    f"{100 * statistics.mean(used):.0f} %" if used else "",
                    f"{statistics.median(results.values(key, 'seconds')):.0f}",
                    str(len(results.results[key])),
                ]
            )
    header = [
        f"{task}: {unit}",
        "error",
        f"over {STRONG}",
        f"over {BEFORE}",
        "epochs",
        "went on",
        "seconds, median",
        "seeds",
    ]
    return table(header, rows)


def winners(results: Results, task: str) -> str:
    """Sentence: what won how many of MIHA's cycles; empty if it has not run."""
    runs = results.results.get(key_of(task, BEFORE), {}).values()
    counted = Counter(winner for run in runs for winner in run["won"].split(", ") if winner)
    if not counted:
        return ""
    return f"Of MIHA's {counted.total()} cycles, {', '.join(f'{name} won {n}' for name, n in counted.most_common())}."


def pooled_table(results: Results) -> str:
    """Table: what each column is worth over MIHA without options, and as miha.tune, all tasks and seeds together."""
    rows = []
    for column in COLUMNS:
        cells = [column]
        for one in (BEFORE, TUNED):
            found = {name: values for name in UNITS if (values := ratios(results, name, column, one))}
            pairs = [ratio for values in found.values() for ratio in values]
            means = [f"{name} {median_of(values).partition(' ')[0]}" for name, values in found.items()]
            cells += [median_of(pairs), str(len(pairs)), ", ".join(means)] if column != one and pairs else ["", "", ""]
        if any(cells[1:]):
            rows.append(cells)
    return table(["column", *(f"over {BEFORE}", "pairs", "by task"), *("over miha.tune", "pairs", "by task")], rows)


def tables(results: Results) -> str:
    """A table for each task that was measured, and one over all of them."""
    measured = [name for name in UNITS if any(key.startswith(f"{name}: ") for key in results.results)]
    told = [part for name in measured for part in (error_table(results, name, UNITS[name]), winners(results, name))]
    return "\n\n".join(filter(None, [*told, pooled_table(results), experience_table(sources(results))]))


def sources(results: Results) -> dict[str, dict[str, Result]]:
    """Runs by task and seed that tell what directions of changes are worth, since they are drawn without knowing."""
    return {name: found for name in UNITS if (found := results.results.get(key_of(name, SOUPS), {}))}


STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # 97.5 % points of t, 1, 2, … degrees of freedom


def main(
    seeds: Annotated[int, typer.Option(min=1, help="runs of each column, seeds 0, 1, …")] = 3,
    digits: Annotated[Path, typer.Option(help="folder that `miha fetch mnist` wrote")] = Path("data/raw/mnist"),
    scenes: Annotated[Path, typer.Option(help="data set of the autoencoder")] = Path("data/scenes/madrid"),
    task: Annotated[list[str], typer.Option(help="tasks; repeatable; default: all")] = [],  # noqa: B006
    only: Annotated[list[str], typer.Option(help="columns by their whole names; repeatable; default: all")] = [],  # noqa: B006
    processes: Annotated[int, typer.Option(min=1, help="runs side by side, each in one process")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="measure anew what an earlier call has measured")] = False,
    runs: Annotated[Path, typer.Option(help="folder for MIHA's runs")] = RUNS / "tuning",
    results: Annotated[Path, typer.Option(help="folder for tuning.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the tables")] = DOCUMENT,
) -> None:
    """Compare, at one budget of epochs, an unchanged training, MIHA, and MIHA with each further part."""
    history = without_truth(scenes, runs / "madrid")
    year = without_truth(stack(RUNS / "scale" / "200x96", 200, 96), runs / "year")
    known = tasks(digits, history, year)
    settings = {name: {**one.schedule, "start": one.start, "strong": one.strong} for name, one in known.items()}
    kept = Results("tuning", settings, fresh, results, document)
    chosen = [column for column in COLUMNS if (not only or column in only) and not is_missing(column)]

    def jobs(columns: list[str]) -> list[Job]:
        told = {name: learned(sources(kept), without=name) for name in known}
        return [
            (key_of(name, column), seed, partial(run_one, name, column, seed, digits, history, year, runs, told[name]))
            for seed in range(seeds)
            for name in known
            for column in columns
            if not task or name in task
        ]

    started = time.monotonic()
    kept.each(jobs([column for column in chosen if column != TUNED]), processes)
    kept.each(jobs([column for column in chosen if column == TUNED]), processes)  # which knows what the others tell
    print(f"{time.monotonic() - started:.0f} s")
    kept.publish(tables(kept))


if __name__ == "__main__":
    typer.run(main)
