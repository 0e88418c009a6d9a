"""The runner that carries out each step of a run as a task of Prefect."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from miha.errors import RunError
from miha.experiment import Cycle, Experiment
from miha.records.record import StageRecord
from miha.training.spec import StageSpec
from miha.training.workers import working
from miha.walk import Runner
from tasks.artifacts import Progress
from tasks.cluster import ClusterGone, result_of
from tasks.deciding import generate_population, select_fittest
from tasks.training import prepare_samples, training_task


class PrefectRunner(Runner):
    """Submits tasks to the task runner of the flow it is used in: threads of this machine, or a Dask cluster."""

    def __init__(self, experiment: Experiment) -> None:
        self.faults = experiment.config.faults
        self.cluster = experiment.config.run.dask
        mainline = len(experiment.plan.legs) or experiment.config.schedule.cycles + 2  # initial, each cycle, final
        self.progress = Progress("stages", 1 + mainline)  # the base, too

    def pool(self, processes: int) -> AbstractContextManager[None]:
        return working(processes)

    def training_pool(self, processes: int) -> AbstractContextManager[None]:
        """On a cluster nothing is trained by processes of this machine."""
        return nullcontext() if self.cluster else working(processes)

    def prepare(self, experiment: Experiment) -> None:
        prepare_samples(experiment)

    def search_ends(self, experiment: Experiment, number: int) -> bool:
        ends = super().search_ends(experiment, number)
        if ends:
            self.progress.drop(experiment.config.schedule.cycles - number + 1)
        return ends

    def generate_population(self, experiment: Experiment, number: int, parent: StageRecord) -> Cycle:
        return generate_population(experiment, number, parent)

    def select_fittest(self, experiment: Experiment, cycle: Cycle) -> None:
        cycle.selection = select_fittest(experiment, cycle)

    def train(self, specs: Sequence[StageSpec]) -> list[StageRecord | Exception]:
        futures = [training_task(spec, self.faults).submit(spec) for spec in specs]
        results: list[StageRecord | Exception] = []
        for future in futures:
            try:
                results.append(result_of(future, self.cluster) if self.cluster else future.result())
            except ClusterGone as gone:  # no stage's doing
                raise RunError(f"{gone} Then run the same command again; it continues.") from gone
            except Exception as error:  # whatever it was, the walk decides; Dask has errors of its own for lost workers
                results.append(error)
        if specs and specs[0].stage.candidate is None and isinstance(results[0], StageRecord):
            self.progress.advance()
        return results
