"""The flow that trains a network while its hyperparameters adapt."""

from pathlib import Path

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel

from miha.config import RunConfig
from miha.experiment import Experiment
from miha.records.archive import read_manifest
from miha.records.gains import gains
from miha.records.provenance import read_provenance
from miha.records.record import model_path
from miha.records.tables import count_epochs, read_tables
from miha.walk import walk
from tasks.cluster import cluster
from tasks.deciding import report
from tasks.ghosts import crash_ghosts
from tasks.runner import PrefectRunner


class Summary(BaseModel):
    """Outcome of a run: its directory, which mainline archive is best and how good that is, and what won."""

    run_dir: Path
    best: str
    valid_loss: float
    metrics: dict[str, float | None]
    epochs: int
    changes: dict[int, str]  # by cycle
    gains: list[str]

    @classmethod
    def of(cls, run_dir: Path) -> "Summary":
        """Read it from the directory of a finished run."""
        base, record = (read_manifest(model_path(run_dir, name)).record for name in ("base", "best"))
        history, population = read_tables(run_dir)
        return cls(
            run_dir=run_dir,
            best=record.name,
            valid_loss=record.valid_loss,
            metrics=record.epochs[-1].metrics,
            epochs=count_epochs(history),
            changes=population[population.selected].set_index("cycle").change.to_dict(),
            gains=list(gains(base, record, population, read_provenance(run_dir).ended)),
        )

    def markdown(self) -> str:
        """The summary for people."""
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items() if value is not None)
        lines = [f"- cycle {cycle}: {change}" for cycle, change in self.changes.items()]
        return "\n".join(
            [
                f"**{self.run_dir}**: best model `{self.best}`, validation loss {self.valid_loss:.4f} ({metrics}), "
                f"{self.epochs} epochs in all.",
                "",
                *self.gains,
                "",
                "Winning changes:",
                *(lines or ["none"]),
            ]
        )


def carry_out(config: RunConfig) -> Summary:
    """Run the flow where the configuration says: in processes of this machine, or on a Dask cluster.

    Raises:
        MihaError: bad data, a run directory that would lose archives, no such cluster, …
    """
    if config.run.dask is None:
        return optimize(config)
    with cluster(config.run.dask, config.run_dir.absolute()) as task_runner:
        return optimize.with_options(task_runner=task_runner)(config)  # type: ignore[arg-type]


def _run_name() -> str:
    config = RunConfig.model_validate(flow_run.parameters["config"])
    return f"{config.problem.data.name or config.problem.name}, seed {config.seed}"


@flow(name="optimize", flow_run_name=_run_name, task_runner=ThreadPoolTaskRunner())  # type: ignore[arg-type]
def optimize(config: RunConfig) -> Summary:
    """Train a network once while its hyperparameters adapt: initial training, cycles of candidates, final training.

    Args:
        config: the problem, the run directory, and whatever is to differ from the defaults.
    """
    _tag(config)
    experiment = Experiment(config)
    if not experiment.ended_before():
        with experiment.open():
            crash_ghosts(_directory_tag(config), flow_run.id)
            walk(experiment, PrefectRunner(experiment))
    summary = Summary.of(config.run_dir)
    report(experiment.directory.path, summary.markdown())
    return summary


def _tag(config: RunConfig) -> None:
    """Give the flow run, and it alone, the tags by which it can be found on the Prefect page.

    Not with ``prefect.tags``, which tags all task runs too: each then asks the server for a concurrency limit.
    """
    names = (config.problem.name, config.problem.data.name or config.problem.name)
    tags = dict.fromkeys([*flow_run.tags, *names, f"seed {config.seed}", _directory_tag(config)])
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, tags=list(tags))


def _directory_tag(config: RunConfig) -> str:
    return f"in {config.run_dir.resolve()}"
