"""The flow that trains a network while its hyperparameters adapt."""

from pathlib import Path

from prefect import flow
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel

from miha.config import RunConfig
from miha.experiment import Experiment, Outcome
from miha.records.archive import archive_path, read_manifest
from miha.records.history import read_tables
from miha.records.record import StageRecord
from miha.training.stages import StageSpec
from miha.training.workers import working
from tasks.deciding import generate_population, report, select_fittest
from tasks.training import prepare_samples, training_task


class Summary(BaseModel):
    """Outcome of a run: its directory, which mainline archive is best and how good that is, and what won."""

    run_dir: Path
    best: str
    valid_loss: float
    metrics: dict[str, float | None]
    epochs: int
    changes: list[str]

    @classmethod
    def of(cls, run_dir: Path) -> "Summary":
        """Read it from the directory of a finished run."""
        record = read_manifest(archive_path(run_dir, "best")).record
        history, population = read_tables(run_dir)
        return cls(
            run_dir=run_dir,
            best=record.name,
            valid_loss=record.valid_loss,
            metrics=record.epochs[-1].metrics,
            epochs=len(history),
            changes=population[population.selected].change.tolist(),
        )

    def markdown(self) -> str:
        """The summary for people."""
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items() if value is not None)
        lines = [f"- cycle {cycle}: {change}" for cycle, change in enumerate(self.changes, start=1)]
        return "\n".join(
            [
                f"**{self.run_dir}**: best model `{self.best}`, validation loss {self.valid_loss:.4f} ({metrics}), "
                f"{self.epochs} epochs in all.",
                "",
                "Winning changes:",
                *(lines or ["none"]),
            ]
        )


def _run_name() -> str:
    from prefect.runtime import flow_run

    config = RunConfig.model_validate(flow_run.parameters["config"])
    return f"{config.problem.data.name or config.problem.name} · seed {config.seed}"


@flow(name="optimize", flow_run_name=_run_name, task_runner=ThreadPoolTaskRunner())  # type: ignore[arg-type]
def optimize(config: RunConfig) -> Summary:
    """Train a network once while its hyperparameters adapt: initial training, cycles of candidates, final training."""
    experiment = Experiment(config)
    if not experiment.nothing_left:
        _carry_out(experiment)
    summary = Summary.of(config.run_dir)
    report(experiment.directory.path, summary.markdown())
    return summary


def _carry_out(experiment: Experiment) -> None:
    """All stages, in their order."""
    config = experiment.config
    processes = config.run.processes(config.schedule.population_size)
    with experiment.open(), working(processes):
        prepare_samples(experiment)
        current = experiment.advance(_train(config, experiment.initial()))
        for cycle in range(1, config.schedule.cycles + 1):
            if config.unchanged:
                spec = experiment.unchanged_cycle(cycle, current)
            else:
                population = generate_population(experiment, cycle, current)
                outcomes = _train_population(experiment, population)
                spec = experiment.fixing(cycle, select_fittest(experiment, cycle, current, population, outcomes))
            current = experiment.advance(_train(config, spec))
        experiment.advance(_train(config, experiment.final(current)))


def _train(config: RunConfig, spec: StageSpec) -> StageRecord:
    return training_task(spec, config.faults)(spec, None)


def _train_population(experiment: Experiment, population: list[StageSpec]) -> list[Outcome]:
    """Fan the candidates out; one that fails for good is recorded and does not stop its siblings."""
    faults = experiment.config.faults
    failed = {spec.name: failure for spec in population if (failure := experiment.failed_before(spec))}
    futures = {
        spec.name: training_task(spec, faults).submit(spec, faults.timeout)
        for spec in population
        if spec.name not in failed
    }
    wait(list(futures.values()))
    outcomes: list[Outcome] = []
    for spec in population:
        result = failed.get(spec.name) or futures[spec.name].result(raise_on_failure=False)
        outcomes.append(experiment.fail(spec, result) if isinstance(result, BaseException) else result)
    return outcomes
