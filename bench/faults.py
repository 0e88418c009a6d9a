"""Random kills over small runs: ``python -m bench.faults``. Does every run finish, and with the same bits?"""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

import miha
from bench.loops import NoiseDigits
from bench.results import DOCUMENT, RESULTS, Result, Results, table
from miha import RunConfig

PATTERNS = ("config.json", "history.csv", "population.csv", "model/*.zip", "population/*")
WHAT = {"whole run": "kills of a whole run", "one worker": "kills of one worker"}  # and the heading of its column
WHOLE_RUN, ONE_WORKER = WHAT
EARLIER = "earlier"  # folder of the run that all others have as their prior
SCHEDULE = {
    "initial_epochs": 6,
    "cycles": 3,
    "population_size": 4,
    "candidate_epochs": 4,
    "fixing_epochs": 4,
    "racing": 2,
    "soups": True,
    "own_orders": True,
    "averaging": 1.0,
}


def configuration(run_dir: Path, workers: int) -> RunConfig:
    return RunConfig(
        run_dir=run_dir,
        problem=NoiseDigits(train=800, valid=200, hidden=64),
        schedule=SCHEDULE,
        search={"experience": True, "prior": [] if run_dir.name == EARLIER else [run_dir.with_name(EARLIER)]},
        faults={"retries": 1000, "retry_delay": 0.01},
        run={"workers": workers, "checkpoint_every": 0},
    )


def train(run_dir: Path, workers: int) -> None:
    """One try of a run, in a process that may be killed."""
    config = configuration(run_dir, workers)
    miha.optimize(config)


def contents(run_dir: Path) -> dict[str, bytes]:
    """What must not differ: all files of a run but those that tell of clock and host."""
    return {str(path.relative_to(run_dir)): path.read_bytes() for pattern in PATTERNS for path in run_dir.glob(pattern)}


def descendants(pid: int) -> list[int]:
    """All processes below one, parents first."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}

    def below(parent: int) -> Iterator[int]:
        for child in [child for child, its in parents.items() if its == parent]:
            yield child
            yield from below(child)

    return list(below(pid))


def kill_until_finished(run_dir: Path, workers: int, rng: random.Random, span: float) -> dict[str, int]:
    """Start a run again and again, each time killing something after up to ``span`` seconds; counts the kills.

    A run that is killed before it has started anew gets nowhere, so each kill gives the next more time.
    """
    kills = dict.fromkeys(WHAT, 0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.loops"])
    while True:
        process = context.Process(target=train, args=(run_dir, workers))
        process.start()
        assert process.pid is not None
        process.join(rng.uniform(0.05, span))
        while process.is_alive():
            victims = descendants(process.pid)[1:]  # after the fork server
            what = rng.choice([WHOLE_RUN, ONE_WORKER]) if victims else WHOLE_RUN
            try:
                os.kill(rng.choice(victims) if what == ONE_WORKER else process.pid, signal.SIGKILL)
                kills[what] += 1
            except ProcessLookupError:
                pass  # it ended by itself in the meantime
            span *= 1.05
            process.join(rng.uniform(0.05, span))
        if process.exitcode == 0:
            return kills


def measure(seed: int, undisturbed: dict[str, bytes], span: float, folder: Path) -> Result:
    """One run under random kills."""
    rng, started = random.Random(seed), time.perf_counter()
    run_dir = folder / f"run{seed}"
    kills = kill_until_finished(run_dir, 2 + seed % 2, rng, span)
    same = contents(run_dir) == undisturbed
    if same:
        shutil.rmtree(run_dir)
    return {**kills, "same bits": same, "seconds": time.perf_counter() - started}


def kills_table(results: Results) -> str:
    """Table: how often what was killed, and how many runs ended with the same bits all the same."""
    runs = results.results["run"].values()
    equal = sum(run["same bits"] for run in runs)
    kills = [str(sum(run[what] for run in runs)) for what in WHAT]
    header = ["runs finished", *WHAT.values(), "equal bits"]
    return table(header, [[str(len(runs)), *kills, f"{equal} ({equal / len(runs):.0%})"]])


def main(
    kills: Annotated[int, typer.Option(help="kills to carry out at least")] = 100,
    fresh: Annotated[bool, typer.Option("--fresh", help="forget earlier results")] = False,
    out: Annotated[Path, typer.Option(help="folder for the JSON")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the table")] = DOCUMENT,
) -> None:
    """Kill whole runs and single workers at random moments until enough were killed; compare the bits of each run."""
    results = Results("faults", {"kills": kills}, fresh, out, document)
    with TemporaryDirectory() as name:
        folder = Path(name)
        train(folder / EARLIER, 1)
        started = time.perf_counter()
        train(folder / "undisturbed", 1)
        span, undisturbed = time.perf_counter() - started, contents(folder / "undisturbed")
        done, seed = 0, 0
        while done < kills:
            result = results.once("run", seed, lambda seed=seed: measure(seed, undisturbed, span, folder))
            done, seed = done + sum(result[what] for what in WHAT), seed + 1
    results.publish(kills_table(results))


if __name__ == "__main__":
    typer.run(main)
