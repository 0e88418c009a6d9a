"""The whole algorithm without Prefect: ``miha.optimize(problem, config)``."""

import multiprocessing
import random
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from miha.config import Faults, RunConfig
from miha.decisions import Outcome
from miha.errors import ConfigError, MihaError, RunError
from miha.experiment import Experiment
from miha.problems import Problem
from miha.progress import publish
from miha.records.archive import archive_path, read_manifest
from miha.records.history import read_tables
from miha.records.record import StageRecord
from miha.training.stages import StageSpec, longest_first, run_stage
from miha.training.workers import compute_all, is_transient, submit, working


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        run_dir: its directory.
        best: record of the mainline stage with the lowest validation loss.
        history: one row per (stage, cycle, candidate, epoch), as in ``history.csv``.
    """

    run_dir: Path
    best: StageRecord
    history: pd.DataFrame

    @property
    def model(self) -> Path:
        """The archive of the best model."""
        return archive_path(self.run_dir, "best")


def optimize(problem: Problem, config: RunConfig) -> Run:
    """Train ``problem``'s network once, adapting its hyperparameters on the way.

    With ``config.run.workers`` of 1 all is done in this process, else candidates train side by side in processes of
    their own. Neither that nor an interruption changes a bit of the result: call again to continue.

    Args:
        problem: what to learn; it takes the place of ``config.problem``.
        config: everything else.

    Raises:
        MihaError: bad data, a run directory that would lose archives, too few survivors, …
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker that imports the user's script
        raise RunError(
            "miha.optimize is called while a worker imports the script. Call it under `if __name__ == '__main__':`."
        )
    if config.run.dask:
        raise ConfigError("run.dask trains on a cluster through Prefect. Leave out --no-prefect, or run.dask.")
    experiment = Experiment(config.model_copy(update={"problem": problem}))
    if not experiment.ended_before():
        _carry_out(experiment)
    from miha.report.page import write_report  # matplotlib need not keep the first epoch waiting

    write_report(experiment.directory.path)
    best = read_manifest(archive_path(config.run_dir, "best")).record
    return Run(config.run_dir, best, read_tables(config.run_dir)[0])


def _carry_out(experiment: Experiment) -> None:
    """The whole run."""
    with experiment.open():
        with _pool(experiment, experiment.preparing_processes):
            prepare(experiment)
        with _pool(experiment, experiment.training_processes):
            _train_stages(experiment)


def _pool(experiment: Experiment, processes: int) -> AbstractContextManager[None]:
    """A pool of processes; none, and all is done in this one, if no other may have to be killed or to keep a GPU."""
    alone = processes == 1 and experiment.device == "cpu" and not experiment.config.faults.timeout
    return nullcontext() if alone else working(processes)


def _train_stages(experiment: Experiment) -> None:
    """All stages, in their order."""
    config = experiment.config
    current = experiment.advance(_train(experiment.initial(), config.faults))
    for cycle in range(1, config.schedule.cycles + 1):
        if config.unchanged:
            spec = experiment.unchanged_cycle(cycle, current)
        else:
            population = experiment.population(cycle, current)
            outcomes = _train_population(experiment, population)
            spec = experiment.fixing(cycle, experiment.decisions.select(cycle, current, population, outcomes))
        current = experiment.advance(_train(spec, config.faults))
    experiment.advance(_train(experiment.final(current), config.faults))


def prepare(experiment: Experiment) -> None:
    """Compute once what every stage of the run needs."""
    started = time.monotonic()
    publish("preparing", data=str(experiment.problem.data))
    config = experiment.config
    parallel_map = partial(compute_all, retries=config.faults.retries)
    experiment.problem.prepare(experiment.directory.cache, config.seed, parallel_map)
    publish("prepared", seconds=time.monotonic() - started)


def _train_population(experiment: Experiment, population: Sequence[StageSpec]) -> list[Outcome]:
    """Train all candidates; one that fails for good is recorded and does not stop its siblings."""
    failed = {spec.name: failure for spec in population if (failure := experiment.decisions.failed_before(spec))}
    trained = _train_all([spec for spec in population if spec.name not in failed], experiment.config.faults)
    outcomes = ((spec, failed.get(spec.name) or trained[spec.name]) for spec in population)
    fail = experiment.decisions.fail
    return [fail(spec, result) if isinstance(result, Exception) else result for spec, result in outcomes]


def _train(spec: StageSpec, faults: Faults) -> StageRecord:
    result = _train_all([spec], faults)[spec.name]
    if isinstance(result, Exception):
        raise mainline_failure(spec, result) from result
    return result


def mainline_failure(spec: StageSpec, error: Exception) -> MihaError:
    """What to tell when a stage without which the run cannot go on failed for good."""
    if isinstance(error, MihaError):
        return error
    return RunError(
        f"{spec.name} ({spec.stage} training) failed: {type(error).__name__}: {error}. Remove the cause "
        "and run the same command again; it continues."
    )


def _train_all(specs: Sequence[StageSpec], faults: Faults) -> dict[str, StageRecord | Exception]:
    """Train stages side by side, each tried again after a failure that may pass; name → record, or the last failure."""
    results: dict[str, StageRecord | Exception] = {}
    retries_left = dict.fromkeys([spec.name for spec in specs], faults.retries)
    running = {submit(run_stage, spec, timeout=spec.timeout): spec for spec in longest_first(specs)}
    while running:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            spec, error = running.pop(future), future.exception()
            if error is None:
                results[spec.name] = future.result()
            elif not isinstance(error, Exception):
                raise error
            elif retries_left[spec.name] and is_transient(error):
                retries_left[spec.name] -= 1
                publish("retry", stage=spec.name, change=spec.change, reason=f"{type(error).__name__}: {error}")
                time.sleep(faults.retry_delay * random.uniform(0.5, 1.5))
                running[submit(run_stage, spec, timeout=spec.timeout)] = spec
            else:
                results[spec.name] = error
    return results
