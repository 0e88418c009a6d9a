"""What becomes of one swap of an activation, at once, gently, or in half of the channels: ``python -m bench.swaps``.

All candidates of a task and seed come from one parent and see the same samples, so that pairs of them are compared.
"""

import math
import shutil
import statistics
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.heldout import without_truth
from bench.results import DOCUMENT, RESULTS, RUNS, Job, Result, Results, table
from bench.tuning import median_of
from bench.tuning_tasks import Task, tasks
from miha import RunConfig
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.point import SearchSpace
from miha.plan import Plan
from miha.records.record import StageId
from miha.training.stage import run_stage

AT_ONCE, HALF = "at once", "in half of the channels"
GENTLY = {"gently, in one epoch": 1, "gently, in two epochs": 2}
TASKS = ("digits", "LeNet", "autoencoder")
DIVERGED = 10.0  # times the loss of the control
DRAWS = 2  # halves of the channels that are tried of each swap


def swaps(name: str, seed: int, digits: Path, scenes: Path, runs: Path) -> Result:
    """Losses on validation after a candidate's epochs, over those of the control, by kind and swap."""
    task, run_dir = tasks(digits, scenes, scenes)[name], runs / f"{name}-{seed}"
    found: dict[str, Any] = {}
    for kind, epochs in {AT_ONCE: 0, **GENTLY}.items():
        plan = _plan(task, seed, run_dir, epochs)
        parent = run_stage(plan.initial(run_stage(plan.base())))
        control = run_stage(plan.population(1, parent, [])[0]).valid_loss
        children = HYPERPARAMETERS["activation"].children(parent.hyperparameters, SearchSpace(), plan.offer)
        if kind == AT_ONCE:
            halves = HYPERPARAMETERS["neuron_activation"].children(parent.hyperparameters, SearchSpace(), plan.offer)
            children += [one for one in halves if int(str(one.change.after).partition("#")[2]) <= DRAWS]
        for number, child in enumerate(children):
            stage, epochs_of_it = (
                StageId(kind="candidate", cycle=1, candidate=number),
                task.schedule["candidate_epochs"],
            )
            spec = plan._spec(stage, parent, child.point, epochs_of_it, child.change, annealing=True)
            group = HALF if child.change.operator == "neuron_activation" else kind
            loss = run_stage(spec).valid_loss
            ratio = loss / control if math.isfinite(loss) else DIVERGED
            found.setdefault(group, {})[f"{child.change.target} {child.change.after}"] = min(ratio, DIVERGED)
        shutil.rmtree(run_dir)
    return found


def _plan(task: Task, seed: int, run_dir: Path, transition: int) -> Plan:
    config = RunConfig(
        problem=task.problem(),
        run_dir=run_dir,
        seed=seed,
        schedule={**task.schedule, "transition": transition},
        start=task.start,
        run={"workers": 1, "device": "cpu", "precision": "float32"},
    )
    plan = Plan.of(config)
    plan.problem.build().prepare(run_dir / "cache", seed, lambda function, items: [function(item) for item in items])
    return plan


def swap_table(results: Results) -> str:
    """Table: each kind of swap beside the same swap at once, and beside the control."""
    rows = []
    for name in TASKS:
        seeds = results.results.get(name, {}).values()
        for kind in (AT_ONCE, *GENTLY, HALF):
            pairs = [(one[kind][swap], _whole(one[AT_ONCE], swap)) for one in seeds for swap in one[kind]]
            if pairs:
                better = 100 * statistics.mean(loss < 1 for loss, _ in pairs)
                lower = 100 * statistics.mean(loss < whole for loss, whole in pairs)
                ratio = median_of([loss / whole for loss, whole in pairs])
                best = statistics.mean(min(one[kind].values()) for one in seeds)
                apart = ["", ""] if kind == AT_ONCE else [ratio, f"{lower:.0f} %"]
                rows.append(
                    [f"{name}: {kind}", *apart, f"{better:.0f} %", f"{best:.3f}", str(len(pairs)), str(len(seeds))]
                )
    header = ["swap", "loss over the swap at once", "lower", "below the control", "best over control", "swaps", "seeds"]
    return table(header, rows)


def _whole(at_once: dict[str, float], swap: str) -> float:
    """The loss of the swap of a whole layer that belongs to one of half of its channels, or to itself."""
    layer, _, after = swap.rpartition(" ")
    return at_once[f"{layer} {after.rpartition('+')[2].partition('#')[0]}"]


def main(
    seeds: Annotated[int, typer.Option(min=1, help="parents of each task, seeds 0, 1, …")] = 3,
    digits: Annotated[Path, typer.Option(help="folder that `miha fetch mnist` wrote")] = Path("data/raw/mnist"),
    scenes: Annotated[Path, typer.Option(help="data set of the autoencoder")] = Path("data/scenes/madrid"),
    task: Annotated[list[str], typer.Option(help="tasks; repeatable; default: all three")] = [],  # noqa: B006
    processes: Annotated[int, typer.Option(min=1, help="trainings side by side")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="measure anew what an earlier call has measured")] = False,
    runs: Annotated[Path, typer.Option(help="folder for MIHA's runs")] = RUNS / "swaps",
    results: Annotated[Path, typer.Option(help="folder for swaps.json")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the table")] = DOCUMENT,
) -> None:
    """Train every swap of an activation that a trained parent offers, in each way, for one candidate's epochs."""
    history = without_truth(scenes, runs / "madrid")
    known = tasks(digits, history, history)
    kept = Results("swaps", {name: known[name].schedule for name in TASKS}, fresh, results, document)
    jobs: list[Job] = [
        (name, seed, partial(swaps, name, seed, digits, history, runs))
        for seed in range(seeds)
        for name in task or TASKS
    ]
    kept.each(jobs, processes)
    kept.publish(swap_table(kept))


if __name__ == "__main__":
    typer.run(main)
