"""One run of the algorithm: what to train next, and what it leaves. It trains nothing itself.

The bare library (:mod:`miha.run`) and the Prefect flow walk through the same experiment and differ only in who
carries the stages out.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from miha.config import RunConfig
from miha.decisions import Decisions
from miha.errors import RunError
from miha.evolution.crossover import CROSSOVER
from miha.evolution.hyperparameters import Hyperparameters
from miha.evolution.mutation import UNCHANGED, Child, generate_population
from miha.progress import publish
from miha.records.archive import FORMAT_VERSION
from miha.records.record import StageKind, StageRecord
from miha.rundir import RunDirectory
from miha.training.device import resolve_device, resolve_precision
from miha.training.stages import ProblemSpec, StageSpec, describe_network

# What may differ between two calls that make, or continue, the same run.
NOT_DECISIVE: Any = {
    "run_dir": True,
    "replace": True,
    "faults": True,
    "problem": True,
    "run": {"workers", "dask", "keep", "checkpoint_every"},
}


class Experiment:
    """The stages of one run in their order; ``decisions`` are what was decided between them."""

    def __init__(self, config: RunConfig) -> None:
        problem = config.problem
        self.config = config
        self.directory = RunDirectory(config.run_dir)
        population = self.directory.path / "population"
        self.decisions = Decisions(population, config.fitness, config.faults.min_survivors)
        self.problem = problem.model_copy(update={"data": problem.data.absolute()})
        self.problem_spec = ProblemSpec.of(self.problem, self.directory.cache)
        self.device = resolve_device(config.run.device)
        self.precision = resolve_precision(config.run.precision, self.device, problem)
        activations, self.offer = describe_network(self.problem_spec)
        self.start = config.start.point(activations, self.offer)
        self.mainline: list[StageRecord] = []

    def check(self) -> None:
        """Say what would stop the run before anything is started.

        Raises:
            RunError: archives of another configuration would be lost.
        """
        self.directory.refuse_loss(self._decisive(), self.config.replace)

    @property
    def preparing_processes(self) -> int:
        """How many processes prepare samples, on the CPU."""
        return self.config.run.workers or os.cpu_count() or 1

    @property
    def training_processes(self) -> int:
        """How many processes train. Candidates share a GPU only if the user says so: it is busy with one."""
        most = 1 if self.device == "cuda" else self.config.schedule.population_size
        return self.config.run.workers or min(os.cpu_count() or 1, most)

    def ended_before(self) -> bool:
        """True if this very run came to its end and kept its final models only, so that no stage could be reused.

        What it then had no time to remove is removed now.

        Raises:
            RunError: the directory is in use.
        """
        if not self.directory.finished_alone(self._decisive()):
            return False
        with self.directory.held():
            self.directory.keep_final_only()
        return True

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the run directory while the stages are trained, and leave tables, best model and provenance behind.

        Raises:
            RunError: the directory is in use, or archives of another configuration would be lost.
        """
        config = self.config
        with self.directory.held():
            self.directory.refuse_loss(self._decisive(), config.replace)
            self.directory.claim(self._decisive())
            publish(
                "run_started",
                budget=config.schedule.budget,
                schedule=config.schedule.model_dump(),
                unchanged=config.unchanged,
                run_dir=str(config.run_dir),
                device=self.device,
                precision=self.precision,
            )
            yield
            self._finish()

    def _decisive(self) -> dict[str, Any]:
        said = self.config.model_dump(mode="json", exclude=NOT_DECISIVE)
        said["problem"] = self.problem_spec.settings
        said["schedule"]["final_epochs"] = self.config.schedule.closing_epochs
        said["start"] = self.start.model_dump(mode="json", exclude={"activations"})
        said["run"] |= {"device": self.device, "precision": self.precision}
        digests = {"data_digest": self.problem_spec.fingerprint, "network_digest": self.problem_spec.network}
        return {**said, **digests, "format_version": FORMAT_VERSION}

    # ---------------------------------------------------------------- stages

    def initial(self) -> StageSpec:
        """Initial training."""
        return self._spec("initial", "init", 0, None, self.start, self.config.schedule.initial_epochs)

    def population(self, cycle: int, parent: StageRecord) -> list[StageSpec]:
        """The candidates of a cycle: the control and its mutated siblings, all from ``parent``."""
        config, schedule = self.config, self.config.schedule
        tried = [one.change for selection in self.decisions.selections for one in selection.outcomes]
        drawn = [change for change in tried if change != UNCHANGED and not change.startswith(CROSSOVER)]
        children = generate_population(
            parent.hyperparameters,
            config.search,
            self.offer,
            schedule.population_size,
            config.seed,
            cycle,
            inherited=self._inherited(cycle),
            turn=len(drawn),
        )
        publish(
            "population", cycle=cycle, changes=[child.change for child in children], wanted=schedule.population_size
        )
        return [
            self._spec(
                "candidate",
                f"{cycle}_{number}",
                cycle,
                parent,
                child.hyperparameters,
                schedule.candidate_epochs,
                candidate=number,
                change=child.change,
                annealing=schedule.candidate_annealing,
            )
            for number, child in enumerate(children)
        ]

    def _inherited(self, cycle: int) -> list[Child]:
        """What the population of a cycle takes over from the selection before it."""
        if cycle == 1:
            return []
        before, selection = self.mainline[cycle - 2], self.decisions.selections[cycle - 2]
        room = min(self.config.search.crossovers, self.config.schedule.population_size - 1)
        return selection.crossovers(before.hyperparameters)[:room]

    def fixing(self, cycle: int, winner: StageRecord) -> StageSpec:
        """Training of a cycle's winner, alone."""
        return self._spec(
            "fixing",
            str(cycle),
            cycle,
            winner,
            winner.hyperparameters,
            self.config.schedule.fixing_epochs,
            change=winner.change,
        )

    def unchanged_cycle(self, cycle: int, parent: StageRecord) -> StageSpec:
        """A baseline's cycle: as many epochs as a cycle costs, its population counted, and no change."""
        return self._spec(
            "fixing", str(cycle), cycle, parent, parent.hyperparameters, self.config.schedule.cycle_epochs
        )

    def final(self, parent: StageRecord) -> StageSpec:
        """Final training."""
        schedule = self.config.schedule
        return self._spec(
            "final",
            "final",
            schedule.cycles,
            parent,
            parent.hyperparameters,
            schedule.closing_epochs,
            annealing=schedule.final_annealing,
        )

    def advance(self, record: StageRecord) -> StageRecord:
        """Count a trained stage of the mainline, and write the tables so far."""
        if not math.isfinite(record.valid_loss):
            raise RunError(f"{record.name} ({record.stage} training) diverged: its loss is not finite. Lower start.lr.")
        self.mainline.append(record)
        self.directory.write_tables(self.records, self.decisions.selections)
        return record

    def _spec(
        self,
        stage: StageKind,
        name: str,
        cycle: int,
        parent: StageRecord | None,
        hyperparameters: Hyperparameters,
        epochs: int,
        candidate: int | None = None,
        change: str = UNCHANGED,
        annealing: bool = False,
    ) -> StageSpec:
        execution = self.config.run
        return StageSpec(
            name=name,
            stage=stage,
            cycle=cycle,
            candidate=candidate,
            change=change,
            parent=parent.name if parent else None,
            parent_digest=parent.digest if parent else None,
            hyperparameters=hyperparameters,
            first_epoch=parent.last_epoch + 1 if parent else 1,
            epochs=epochs,
            annealing=annealing,
            seed=self.config.seed,
            problem=self.problem_spec,
            threads=execution.threads,
            device=self.device,
            precision=self.precision,
            checkpoint_every=execution.checkpoint_every,
            timeout=self.config.timeout_of(epochs),
            run_dir=str(self.directory.path),
        )

    # ---------------------------------------------------------------- the end

    @property
    def best(self) -> StageRecord:
        """The mainline stage with the lowest validation loss; of equals the first."""
        return min(self.mainline, key=lambda record: record.valid_loss)

    @property
    def records(self) -> list[StageRecord]:
        """All records in the order of training: a cycle's candidates, then its fixing."""
        sizes = {"initial": 0, "candidate": 1, "fixing": 2, "final": 3}
        return sorted(
            [*self.mainline, *self.decisions.candidates],
            key=lambda record: (record.stage == "final", record.cycle, sizes[record.stage], record.candidate or 0),
        )

    def _finish(self) -> None:
        best, config = self.best, self.config
        self.directory.write_best(best.name)
        self.directory.write_tables(self.records, self.decisions.selections)
        if config.replace:
            self.directory.remove_leftovers(self.records, self.decisions.selections)
        self.directory.write_provenance(
            {
                "configuration": config.model_dump(mode="json"),
                "data": str(self.problem.data),
                "data_digest": self.problem_spec.fingerprint,
                "device": self.device,
                "precision": self.precision,
                "epochs": config.schedule.budget,
            }
        )
        if config.run.keep == "final":
            self.directory.keep_final_only()
        publish(
            "run_finished",
            best=best.name,
            valid_loss=best.losses[-1],
            metrics=best.epochs[-1].metrics,
            run_dir=str(config.run_dir),
        )
