"""MIHA against unchanged hyperparameters on scenes, and without parts of its design: ``python -m bench.gapfill``."""

import re
import statistics
import time
from collections import Counter
from concurrent.futures import as_completed
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from bench.ablations import FITNESS, NAMES, NO_CROSSOVER, OWN_ORDERS, PATCHES
from bench.heldout import held_out_errors, without_truth
from bench.results import DOCUMENT, RESULTS, RUNS, Job, Result, Results, process_pool, spread, table
from bench.runs import ARTICLE_OPERATORS, figures_of
from miha import GapFill, RunConfig, optimize
from miha.evolution.change import Change
from miha.evolution.point import SearchSpace

UNCHANGED, ARTICLES, FULL = "unchanged", "article's operators", "all operators"
Samples = tuple[int, int, int]  # to train on, to validate on, to test on


class Setting(NamedTuple):
    """What is trained, and how long."""

    problem: dict[str, str]
    batch_size: int
    schedule: dict[str, int]
    columns: tuple[str, ...]
    turns: dict[str, float]  # of operators that have not one, where all take part


# The article's network cannot say less than zero, and its learning rate is too low for so few epochs.
EVERY = SearchSpace().operators
WHAT_THE_AUTOENCODER_LACKS = {**dict.fromkeys(EVERY, 0.25), "activation": 6.0, "lr": 4.0, "dropout": 1.0}

SETTINGS = {
    "autoencoder": Setting(
        {"network": "autoencoder"},
        32,
        {
            "initial_epochs": 4,
            "cycles": 3,
            "population_size": 8,
            "candidate_epochs": 2,
            "candidate_annealing": True,
            "fixing_epochs": 1,
            "final_epochs": 43,
        },  # 98 in all
        (UNCHANGED, ARTICLES, FULL),
        WHAT_THE_AUTOENCODER_LACKS,
    ),
    "unet": Setting(
        {"network": "unet"},
        32,
        {
            "initial_epochs": 2,
            "cycles": 2,
            "population_size": 4,
            "candidate_epochs": 2,
            "candidate_annealing": True,
            "fixing_epochs": 1,
            "final_epochs": 14,
        },  # 34 in all
        (UNCHANGED, FULL),
        {},
    ),
    "ablation": Setting(
        {"network": "autoencoder"},
        32,
        {
            "initial_epochs": 2,
            "cycles": 3,
            "population_size": 6,
            "candidate_epochs": 2,
            "candidate_annealing": True,
            "fixing_epochs": 1,
            "final_epochs": 9,
        },  # 50 in all
        (FULL, *NAMES),
        WHAT_THE_AUTOENCODER_LACKS,
    ),
}


def run_one(what: str, column: str, seed: int, data: Path, runs: Path, cycles: int | None, samples: Samples) -> Result:
    """One run in this process alone, which continues if it was interrupted, and its error on held-out days.

    Args:
        what: a name in SETTINGS.
        column: UNCHANGED, ARTICLES, FULL, or what is taken away from FULL.
        seed: of the run.
        data: a data set without truth.
        runs: folder of all runs.
        cycles: in place of the setting's.
        samples: to train on, to validate on, and to test on.
    """
    setting = SETTINGS[what]
    network = setting.problem["network"]
    run_dir, shared = runs / f"{what}-{re.sub('[^a-z]+', '-', column)}-{seed}", samples_of(network, seed, runs)
    for folder in (run_dir, shared):
        folder.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "cache").exists():  # the samples of its seed are those of other columns too
        (run_dir / "cache").symlink_to(shared.absolute(), target_is_directory=True)
    every = {**EVERY, **setting.turns}
    crossovers = 0 if column in (ARTICLES, NO_CROSSOVER) else 1
    config = RunConfig(
        problem=problem_of(network, data, samples),
        run_dir=run_dir,
        seed=seed,
        schedule={**schedule_of(what, cycles), "own_orders": column == OWN_ORDERS},
        start={"batch_size": setting.batch_size},
        search={"operators": ARTICLE_OPERATORS if column == ARTICLES else every, "crossovers": crossovers},
        unchanged=column == UNCHANGED,
        run={"workers": 1, "device": "cpu", "precision": "float32"},
        **FITNESS.get(column, {}),
    )
    with PATCHES.get(column, nullcontext)():
        run = optimize(config)
    return {**held_out_errors(run.model, data, samples[2]), **figures_of(run), "valid_loss": run.best.valid_loss}


def problem_of(network: str, data: Path, samples: Samples) -> GapFill:
    """What a network learns."""
    train, valid, _ = samples
    return GapFill(data=data, loss="mse", train_samples=train, valid_samples=valid, network=network)


def samples_of(network: str, seed: int, runs: Path) -> Path:
    """The folder of the samples that all runs of a network and seed learn from."""
    return runs / "samples" / f"{network}-{seed}"


def prepare(network: str, seed: int, data: Path, runs: Path, samples: Samples) -> None:
    """Make the samples of a network and seed, unless they exist."""
    folder = samples_of(network, seed, runs)
    problem_of(network, data, samples).prepare(folder, seed, lambda function, jobs: list(map(function, jobs)))


def schedule_of(what: str, cycles: int | None) -> dict[str, int]:
    """The setting's epochs, for that many cycles."""
    return {**SETTINGS[what].schedule, **({"cycles": cycles} if cycles else {})}


def name_of(what: str, column: str) -> str:
    """What the results of a setting and column are called."""
    return f"{what}, {column}"


def ratios(results: Results, network: str, column: str, key: str, against: str = UNCHANGED) -> list[float]:
    """Error of a column over that of another, for each seed that both have."""
    above, below = (results.results[name_of(network, name)] for name in (column, against))
    return [above[seed][key] / below[seed][key] for seed in sorted(above.keys() & below.keys(), key=int)]


def _median_of(values: list[float]) -> str:
    """The median, and the value of each seed."""
    return f"{statistics.median(values):.2f} ({' '.join(format(value, '.2f') for value in values)})"


def comparison(results: Results, network: str) -> str:
    """Table: errors, and their ratios to those of unchanged hyperparameters."""
    rows = []
    for column in SETTINGS[network].columns:
        name = name_of(network, column)
        if name in results.results:
            row = [column]
            for key in ("gap", "scene"):
                row += [spread(results.values(name, key), ".3f"), _median_of(ratios(results, network, column, key))]
            rows.append(
                [
                    *row,
                    f"{statistics.mean(results.values(name, 'epochs')):.0f}",
                    spread(results.values(name, "seconds"), ".0f"),
                ]
            )
    header = [
        network,
        "error in gaps",
        "ratio: median (seeds)",
        "whole scene",
        "ratio: median (seeds)",
        "epochs",
        "seconds",
    ]
    return table(header, rows)


def ablation_table(results: Results) -> str:
    """Table: what is taken away, the error in gaps, and its ratio to MIHA's with everything."""
    rows = []
    for column in (FULL, *NAMES):
        if (name := name_of("ablation", column)) in results.results:
            share = _median_of(ratios(results, "ablation", column, "gap", FULL))
            rows.append(["nothing" if column == FULL else column, spread(results.values(name, "gap"), ".3f"), share])
    return table(["taken away or replaced", "error in gaps", "ratio to nothing taken away: median (seeds)"], rows)


def winners(results: Results, network: str) -> str:
    """Sentence: which kinds of change won how many cycles, and which single ones most often, crossed over or not."""
    if (name := name_of(network, FULL)) not in results.results:
        return ""
    won = [
        Change(**{**change, "crossed": False}) for result in results.results[name].values() for change in result["won"]
    ]
    kinds = Counter(map(kind_of, won))
    single = Counter(str(change) for change in won if change.operator).most_common(6)
    return (
        f"Of {len(won)} cycles of the {network} with all operators: "
        + ", ".join(f"{kind} won {count}" for kind, count in kinds.most_common())
        + (f". Most often: {', '.join(f'{change} ({count})' for change, count in single)}." if single else ".")
    )


def kind_of(change: Change) -> str:
    """What the operator of a change is called, and of activations also which one it changes."""
    if not change.operator:
        return "the control"
    name = change.operator.replace("_", " ")
    return f"{name} of {change.target}" if change.operator == "activation" else name


def main(
    seeds: Annotated[int, typer.Option(min=1, help="runs of each column with the autoencoder, seeds 0, 1, …")] = 5,
    unet_seeds: Annotated[int, typer.Option(min=0, help="the same with the U-Net")] = 3,
    data: Annotated[Path, typer.Option(help="folder that `miha prepare` wrote")] = Path("data/scenes/madrid"),
    train_samples: Annotated[int, typer.Option(min=1, help="days with a pasted gap to train on")] = 400,
    valid_samples: Annotated[int, typer.Option(min=1, help="the same to validate on")] = 96,
    test_samples: Annotated[int, typer.Option(min=1, help="the same to test on")] = 150,
    ablation_seeds: Annotated[int, typer.Option(min=0, help="the same without parts of the design, 50 epochs")] = 5,
    cycles: Annotated[
        int | None,
        typer.Option(min=1, help="cycles; default: autoencoder 3 (98 epochs), U-Net 2 (34), ablations 3 (50)"),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="runs side by side, each in one process")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="measure anew what an earlier call has measured")] = False,
    runs: Annotated[Path, typer.Option(help="folder for MIHA's runs")] = RUNS / "gapfill",
    results: Annotated[Path, typer.Option(help="folder for gapfill.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the tables")] = DOCUMENT,
) -> None:
    """Compare errors on held-out days at one budget of epochs: per pixel, squared, of standardised values."""
    samples = (train_samples, valid_samples, test_samples)
    counts = {"autoencoder": seeds, "unet": unet_seeds, "ablation": ablation_seeds}
    settings = {what: {**SETTINGS[what]._asdict(), "schedule": schedule_of(what, cycles)} for what in counts}
    kept = Results("gapfill", {**settings, "samples": samples}, fresh, results, document)
    scenes = without_truth(data, runs / "scenes")
    work = [
        (what, column, seed)
        for what, count in counts.items()
        for seed in range(count)
        for column in SETTINGS[what].columns
        if not kept.has(name_of(what, column), seed)
    ]
    work.sort(key=lambda one: one[1] == ARTICLES)  # what a bench that is cut short can best do without comes last
    jobs: list[Job] = [
        (name_of(what, column), seed, partial(run_one, what, column, seed, scenes, runs, cycles, samples))
        for what, column, seed in work
    ]
    started = time.monotonic()
    with process_pool(processes) as pool:
        needed = {(SETTINGS[what].problem["network"], seed) for what, _, seed in work}
        made = [pool.submit(prepare, *what, scenes, runs, samples) for what in sorted(needed, reverse=True)]
        for number, future in enumerate(as_completed(made), start=1):
            future.result()
            print(f"samples: {number} of {len(made)} made, {time.monotonic() - started:.0f} s", flush=True)
    kept.each(jobs, processes)
    print(f"{time.monotonic() - started:.0f} s")
    parts = [part(kept, what) for what in ("autoencoder", "unet") if counts[what] for part in (comparison, winners)]
    parts += [ablation_table(kept)] if ablation_seeds else []
    kept.save()
    kept.publish("\n\n".join(part for part in parts if part))


if __name__ == "__main__":
    typer.run(main)
