"""How time and memory grow with the work: each size in a process of its own, so that its peak memory is its own."""

import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from bench.loops import NoiseDigits, NoiseScenes
from bench.results import ROOT, Result
from miha import GapFill, Problem, RunConfig, optimize
from miha.gapfill.network_filler import NetworkFiller
from miha.plan import Plan
from miha.rasters.simulate import simulate
from miha.records.record import StageId, model_path
from miha.training.loop import Span
from miha.training.stage import run_stage
from miha.training.workers import compute_all, working

SIDES = ((64, 64), (64, 128), (128, 128), (128, 256), (256, 256))  # rows and columns: pixels double four times
CANDIDATES = ((2,), (4,), (8,), (16,), (32,))


def exponent(sizes: list[int], values: list[float]) -> float:
    """The power of size by which values grow: slope of a line through their logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measured(work: str, size: Sequence[int], folder: Path) -> Result:
    """Seconds and peak memory of one piece of work in a process of its own.

    Memory is in MiB, above what the process held before; of candidates, all of the parent and of its largest worker.

    Args:
        work: ``stage``, ``fill`` or ``candidates``.
        size: rows and columns, or the number of candidates.
        folder: for what the work leaves behind; of ``fill``, what :func:`prepare_scenes` made is there.
    """
    command = [sys.executable, "-m", "bench.growth", work, str(folder), *map(str, size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{work} of size {size} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare_scenes(folder: Path) -> None:
    """Simulated scenes of every size, and a model that fills them all."""
    for height, width in SIDES:
        simulate(_scenes(folder, height, width), days=12, height=height, width=width, seed=0)
    problem = GapFill(data=_scenes(folder, *SIDES[0]), train_samples=8, valid_samples=4)
    schedule: dict[str, Any] = {"initial_epochs": 1, "cycles": 0}
    optimize(RunConfig(problem=problem, run_dir=folder / "run", schedule=schedule, run={"workers": 1}))


def _scenes(folder: Path, height: int, width: int) -> Path:
    return folder / f"{height}x{width}"


def _plan(problem: Problem, folder: Path) -> Plan:
    """A plan whose stages leave their archives in a folder of their own."""
    schedule = {"initial_epochs": 1, "candidate_epochs": 1}
    return Plan.of(RunConfig(run_dir=Path(mkdtemp(dir=folder)), problem=problem, schedule=schedule))


def _stage(folder: Path, height: int, width: int) -> Callable[[], Any]:
    base = _plan(NoiseScenes(train=32, valid=8, height=height, across=width), folder).base()
    spec = base.model_copy(update={"span": Span(1, 1)})  # an epoch of fresh weights: no parent is read
    return lambda: run_stage(spec)


def _fill(folder: Path, height: int, width: int) -> Callable[[], Any]:
    """Reading, guessing, the network and writing."""
    for library in ("sklearn.ensemble", "sklearn.linear_model", "scipy.ndimage"):  # else the first fill loads them
        importlib.import_module(library)
    scenes = _scenes(folder, height, width)
    filler = NetworkFiller(model_path(folder / "run", "best"), scenes)
    source = min((scenes / "gapped").glob("*.tif"))
    return lambda: filler.fill(source, folder / f"filled_{scenes.name}.tif")


def _candidates(folder: Path, number: int) -> Callable[[], Any]:
    """A population of the article's network, two side by side in workers that are warm."""
    plan = _plan(NoiseDigits(train=2000, valid=500), folder)
    initial = plan.initial(run_stage(plan.base()))
    control = plan.population(1, run_stage(initial), [])[0]
    population = [control.model_copy(update={"stage": _candidate(1, one)}) for one in range(number)]  # of equal cost
    twice = [initial.model_copy(update={"stage": _candidate(0, one)}) for one in range(2)]

    def train() -> Result:
        with working(2):
            compute_all(run_stage, twice)
            started = time.perf_counter()
            compute_all(run_stage, population)
            seconds = time.perf_counter() - started
            return {"seconds": seconds, "mebibytes": _memory("VmHWM") + max(compute_all(_memory, ["VmHWM"] * 4))}

    return train


def _candidate(cycle: int, number: int) -> StageId:
    return StageId(kind="candidate", cycle=cycle, candidate=number)


def _memory(what: str) -> float:
    """Memory of this process, MiB: ``VmRSS`` now, ``VmHWM`` at its peak."""
    found = re.search(rf"^{what}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, f"Linux tells {what}"
    return int(found[1]) / 1024


def main(work: str, folder: Path, *size: int) -> None:
    """Do one piece of work and print its figures as JSON."""
    pieces: dict[str, Callable[..., Callable[[], Any]]] = {"stage": _stage, "fill": _fill, "candidates": _candidates}
    run = pieces[work](folder, *size)
    before, started = _memory("VmRSS"), time.perf_counter()
    result = run()
    figures = {"seconds": time.perf_counter() - started, "mebibytes": _memory("VmHWM") - before}
    print(json.dumps(result if isinstance(result, dict) else figures))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
