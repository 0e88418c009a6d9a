"""The whole algorithm without Prefect: ``miha.optimize(config)``."""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from torch import nn

from miha.config import RunConfig
from miha.errors import ConfigError
from miha.events import StageRetried, publish
from miha.experiment import Experiment
from miha.problems.evaluation import trained_network
from miha.problems.registry import archived_problem
from miha.records.archive import read_archive, read_manifest
from miha.records.provenance import read_provenance
from miha.records.record import StageId, StageRecord, model_path
from miha.records.tables import read_tables
from miha.script import refuse_import, refuse_unguarded
from miha.training.spec import StageSpec
from miha.training.stage import run_stage
from miha.training.workers import is_transient, submit, working
from miha.walk import Runner, walk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_THIS_PROCESS = "Or train in this process: run={'workers': 1}."


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        run_dir: its directory.
        best: record of the mainline stage with the lowest validation loss, or of the base.
        history: one row per (stage, cycle, candidate, epoch), as in ``history.csv``.
        population: one row per candidate, as in ``population.csv``.
    """

    run_dir: Path
    best: StageRecord
    history: pd.DataFrame
    population: pd.DataFrame

    @classmethod
    def open(cls, run_dir: Path | str) -> "Run":
        """A finished run, from its directory.

        Raises:
            ArchiveError: no finished run there, or its best model is damaged.
        """
        folder = Path(run_dir)
        return cls(folder, read_manifest(model_path(folder, "best")).record, *read_tables(folder))

    def _repr_html_(self) -> str:
        from miha.report.notebook import run_html

        return run_html(self.run_dir)

    @property
    def model(self) -> Path:
        """The archive of the best model."""
        return model_path(self.run_dir, "best")

    @property
    def scores(self) -> dict[str, float | None]:
        """Validation loss and metric of the best model; a metric called ``valid_loss`` is ``metric_valid_loss``."""
        last = self.best.epochs[-1]
        metrics = {"metric_valid_loss" if name == "valid_loss" else name: one for name, one in last.metrics.items()}
        return {"valid_loss": last.valid_loss, **metrics}

    def network(self) -> nn.Module:
        """The network with the weights and the activations of the best model, ready to use.

        Raises:
            ArchiveError: the problem cannot be built here.
        """
        archive = read_archive(self.model)
        data = Path(read_provenance(self.run_dir).data)
        return trained_network(archived_problem(archive.manifest.problem, data), archive)

    def plot(self, against: "Run | None" = None) -> "Figure":
        """The learning history, with what won; another run (of unchanged hyperparameters) is drawn beside it."""
        from miha.report.plots import plot_history

        other = None if against is None else against.history
        return plot_history(self.history, self.population, other=other)


def optimize(config: RunConfig) -> Run:
    """Train the network of ``config.problem`` once, adapting its hyperparameters on the way.

    With ``config.run.workers`` of 1 all is done in this process, else candidates train side by side in processes of
    their own. Neither that nor an interruption changes a bit of the result: call again to continue.

    Raises:
        MihaError: bad data, a run directory that would lose archives, too few survivors, …
    """
    refuse_import("miha.optimize")
    if config.run.workers != 1:
        refuse_unguarded("miha.optimize", IN_THIS_PROCESS)
    if config.run.dask:
        raise ConfigError("run.dask trains on a cluster through Prefect. Leave out --no-prefect, or run.dask.")
    experiment = Experiment(config)
    threading.Thread(target=import_module, args=("miha.report.page",)).start()  # matplotlib, while workers train
    if not experiment.ended_before():
        with experiment.open():
            walk(experiment, LocalRunner(experiment))
    from miha.report.page import write_report

    write_report(experiment.directory.path)
    return Run.open(config.run_dir)


class LocalRunner(Runner):
    """Trains in a pool of processes of this machine, or in this one process."""

    def __init__(self, experiment: Experiment) -> None:
        self.faults = experiment.config.faults
        self.device = experiment.plan.compute.device

    def pool(self, processes: int) -> AbstractContextManager[None]:
        """A pool; none if no other process may have to be killed or to keep a GPU: then all is done in this one."""
        alone = processes == 1 and self.device == "cpu" and not self.faults.timeout
        return nullcontext() if alone else working(processes)

    def train(self, specs: Sequence[StageSpec]) -> list[StageRecord | Exception]:
        results: dict[StageId, StageRecord | Exception] = {}
        tries_left = {spec.stage: self.faults.retries for spec in specs}
        running = {submit(run_stage, spec, timeout=spec.timeout): spec for spec in specs}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                spec = running.pop(future)
                try:
                    results[spec.stage] = future.result()
                except Exception as error:  # whatever it was, the walk decides
                    if not (tries_left[spec.stage] and is_transient(error)):
                        results[spec.stage] = error
                        continue
                    tries_left[spec.stage] -= 1
                    publish(StageRetried(spec.stage, spec.change, f"{type(error).__name__}: {error}"))
                    time.sleep(self.faults.retry_delay * random.uniform(0.5, 1.5))
                    running[submit(run_stage, spec, timeout=spec.timeout)] = spec
        return [results[spec.stage] for spec in specs]
