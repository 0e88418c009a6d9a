"""What Prefect costs: ``python -m bench.overhead``. The flow against the bare library, the same work and archives."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import httpx
import typer

import miha
from bench.loops import NoiseDigits
from bench.results import DOCUMENT, RESULTS, Result, Results, table
from miha import RunConfig
from miha.events import Event, StageEnded, StageStarted, observed_by
from miha.records.record import StageId

MANY = 64  # candidates of which each trains next to nothing
KINDS = ("library", "flow")
RUNNING, TEMPORARY, NONE = "start, server running", "start, temporary server", "start, without Prefect"


@contextmanager
def server() -> Iterator[None]:
    """A Prefect server of its own while the block runs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    with TemporaryDirectory() as home:
        os.environ |= {
            "PREFECT_HOME": home,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        }
        command = [str(Path(sys.executable).parent / "prefect"), "server", "start", "--port", port]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while True:
                try:
                    httpx.get(f"{os.environ['PREFECT_API_URL']}/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait()
            del os.environ["PREFECT_API_URL"]


def long_run(run_dir: Path) -> RunConfig:
    """A run of a minute or more on two cores."""
    return RunConfig(
        run_dir=run_dir,
        problem=NoiseDigits(),
        schedule={"initial_epochs": 30, "cycles": 1, "population_size": 8, "candidate_epochs": 6, "fixing_epochs": 8},
        search={"operators": {"optimizer": 1.0, "activation": 1.0}},
        run={"workers": 2},
    )


def many_candidates(run_dir: Path, workers: int) -> RunConfig:
    """A population of which each trains an epoch of milliseconds."""
    return RunConfig(
        run_dir=run_dir,
        problem=NoiseDigits(train=64, valid=16, hidden=8),
        schedule={"initial_epochs": 1, "cycles": 1, "population_size": MANY, "candidate_epochs": 1, "fixing_epochs": 1},
        run={"workers": workers},
    )


class Work(NamedTuple):
    """A run to carry out in both ways, and how many candidates to share its difference among (0: not shown)."""

    make: Callable[[Path], RunConfig]
    candidates: int = 0


WORK = {
    "a run of a minute or more": Work(long_run),
    f"{MANY} candidates, 1 worker": Work(partial(many_candidates, workers=1), MANY),
    f"{MANY} candidates, 2 workers": Work(partial(many_candidates, workers=2), MANY),
}


def carry_out(kind: str, config: RunConfig) -> None:
    if kind == "library":
        miha.optimize(config)
    else:
        from flows.optimize import carry_out as flow

        flow(config)


class Training:
    """An observer that adds up for how long at least one stage was training."""

    def __init__(self) -> None:
        self.stages: set[StageId] = set()
        self.since = self.seconds = 0.0
        self.done = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self.since = self.since if self.stages else time.perf_counter()
            self.stages.add(event.stage)
        elif isinstance(event, StageEnded):
            self.stages.remove(event.stage)
            self.done += 1
            self.seconds += 0 if self.stages else time.perf_counter() - self.since


def archives(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run_dir.glob("*/*.zip")}


def compare(make: Callable[[Path], RunConfig], repeat: int = 0) -> Result:
    """Seconds of the library and of the flow, in turn first; their archives must be the same."""
    with TemporaryDirectory() as name:
        seconds = {}
        for kind in KINDS if repeat % 2 == 0 else reversed(KINDS):
            started, training = time.perf_counter(), Training()
            with observed_by(training):
                carry_out(kind, make(Path(name) / kind))
            seconds[kind] = time.perf_counter() - started
            if training.done != len(archives(Path(name) / kind)) - 1:  # model_best is a copy
                raise miha.MihaError("events were lost, so the time of training is not known.")
            seconds[f"{kind}, not training"] = seconds[kind] - training.seconds
        if archives(Path(name) / "library") != archives(Path(name) / "flow"):
            raise miha.MihaError("the flow left other archives than the library.")
    return {**seconds, "ratio": seconds["flow"] / seconds["library"]}


def command_seconds(*more: str) -> Result:
    """Seconds of the whole command for a run that trains next to nothing."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        program = Path(sys.executable).parent / "miha"
        subprocess.run([program, "simulate", folder / "data", "--days", "12"], check=True, capture_output=True)
        small = ("train_samples=4", "valid_samples=4", "trees=12", "width=4")
        settings = [word for key in small for word in ("--set", f"problem.{key}")]
        started = time.perf_counter()
        command = [program, "optimize", "--data", folder / "data", "--run-dir", folder / "run", *settings, *more]
        subprocess.run([*command, "--set", "schedule.cycles=0"], check=True, capture_output=True)
        return {"seconds": time.perf_counter() - started}


def work_table(results: Results) -> str:
    """Table: medians of the seconds that the library and the flow take for the same work."""
    rows = []
    for name, work in WORK.items():
        bare, flow, ratio = (median(results.values(name, key)) for key in (*KINDS, "ratio"))
        idle = [f"{median(results.values(name, f'{kind}, not training')):.2f}" for kind in KINDS]
        each = f"{1000 * (flow - bare) / work.candidates:.1f}" if work.candidates else "–"
        ratios = f"{ratio:.3f} ({' '.join(format(one, '.3f') for one in sorted(results.values(name, 'ratio')))})"
        rows.append([name, f"{bare:.2f}", f"{flow:.2f}", ratios, *idle, each])
    header = ["work", "library, s", "flow, s", "ratio (each)", *(f"{kind}: no stage trains, s" for kind in KINDS)]
    return table([*header, "ms more a candidate"], rows)


def start_table(results: Results) -> str:
    """Table: medians of the seconds that a whole command takes."""
    rows = [[name, f"{median(results.values(name, 'seconds')):.1f}"] for name in (RUNNING, TEMPORARY, NONE)]
    return table(["whole command, next to nothing to train", "s"], rows)


def main(
    repeats: Annotated[int, typer.Option(help="times that each is measured", min=1)] = 5,
    fresh: Annotated[bool, typer.Option("--fresh", help="forget earlier results")] = False,
    out: Annotated[Path, typer.Option(help="folder for the JSON")] = RESULTS,
    document: Annotated[Path, typer.Option(help="Markdown file for the table")] = DOCUMENT,
) -> None:
    """Time the flow under Prefect, its server already running, against the bare library; and the start of each."""
    results = Results("overhead", {"repeats": repeats, "many": MANY}, fresh, out, document)
    with server():
        compare(partial(many_candidates, workers=2))  # imports, and the first contact with the server
        for name, work in WORK.items():
            for repeat in range(repeats):
                results.once(name, repeat, partial(compare, work.make, repeat))
        for repeat in range(repeats):
            results.once(RUNNING, repeat, command_seconds)
    for repeat in range(repeats):
        results.once(TEMPORARY, repeat, command_seconds)
        results.once(NONE, repeat, partial(command_seconds, "--no-prefect"))
    results.publish(f"{work_table(results)}\n\n{start_table(results)}")


if __name__ == "__main__":
    typer.run(main)
