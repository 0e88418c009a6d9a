"""How time and memory grow with the work: each size in a process of its own, so that its peak memory is its own."""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.loops import NoiseDigits, NoiseScenes
from bench.results import ROOT, Result
from miha import GapFill, Problem, RunConfig
from miha.experiment import Experiment
from miha.problems.filler import Filler
from miha.rasters.simulate import simulate
from miha.run import optimize
from miha.training.stages import run_stage
from miha.training.workers import compute_all, working

SIDES = ((64, 64), (64, 128), (128, 128), (128, 256), (256, 256))  # rows and columns: pixels double four times
CANDIDATES = (2, 4, 8, 16, 32)


def exponent(sizes: list[int], values: list[float]) -> float:
    """The power of size by which values grow: slope of a line through their logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measured(work: str, size: str, folder: Path) -> Result:
    """Seconds and peak memory of one piece of work in a process of its own.

    Memory is in MiB, above what the process held before; of candidates, all of the parent and of its largest worker.
    """
    command = [sys.executable, "-m", "bench.growth", work, size, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{work} of size {size} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare_scenes(folder: Path) -> None:
    """Simulated scenes of every size, and a model that fills them all."""
    for height, width in SIDES:
        simulate(folder / f"{height}x{width}", days=12, height=height, width=width, seed=0)
    problem = GapFill(data=folder / "64x64", train_samples=8, valid_samples=4)
    schedule: dict[str, Any] = {"initial_epochs": 1, "cycles": 0}
    optimize(problem, RunConfig(run_dir=folder / "run", schedule=schedule, run={"workers": 1}))


def _experiment(problem: Problem, folder: Path) -> Experiment:
    schedule = {"initial_epochs": 1, "candidate_epochs": 1}
    return Experiment(RunConfig(run_dir=folder, problem=problem, schedule=schedule))


def _stage(size: str, folder: Path) -> Callable[[], Any]:
    height, width = map(int, size.split("x"))
    with TemporaryDirectory(dir=folder) as run_dir:
        problem = NoiseScenes(train=32, valid=8, height=height, across=width)
        spec = _experiment(problem, Path(run_dir)).initial()
    return lambda: run_stage(spec)


def _fill(size: str, folder: Path) -> Callable[[], Any]:
    """Reading, guessing, the network and writing."""
    for library in ("sklearn.ensemble", "sklearn.linear_model", "scipy.ndimage"):  # else the first fill loads them
        importlib.import_module(library)
    filler = Filler(folder / "run" / "model" / "model_best.zip", folder / size)
    source = min((folder / size / "gapped").glob("*.tif"))
    return lambda: filler.fill(source, folder / f"filled_{size}.tif")


def _candidates(size: str, folder: Path) -> Callable[[], Any]:
    """A population of the article's network, two side by side in workers that are warm."""
    with TemporaryDirectory(dir=folder) as run_dir:
        experiment = _experiment(NoiseDigits(train=2000, valid=500), Path(run_dir))
    control = experiment.population(1, run_stage(experiment.initial()))[0]
    population = [control.model_copy(update={"name": f"1_{number}"}) for number in range(int(size))]  # of equal cost
    twice = [experiment.initial().model_copy(update={"name": name}) for name in ("warm", "up")]

    def train() -> Result:
        with working(2):
            compute_all(run_stage, twice)
            started = time.perf_counter()
            compute_all(run_stage, population)
            seconds = time.perf_counter() - started
            return {"seconds": seconds, "mebibytes": _memory("VmHWM") + max(compute_all(_memory, ["VmHWM"] * 4))}

    return train


def _memory(what: str) -> float:
    """Memory of this process, MiB: ``VmRSS`` now, ``VmHWM`` at its peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def main(work: str, size: str, folder: Path) -> None:
    """Do one piece of work and print its figures as JSON."""
    run = {"stage": _stage, "fill": _fill, "candidates": _candidates}[work](size, folder)
    before, started = _memory("VmRSS"), time.perf_counter()
    said = run()
    figures = {"seconds": time.perf_counter() - started, "mebibytes": _memory("VmHWM") - before}
    print(json.dumps(said if isinstance(said, dict) else figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
