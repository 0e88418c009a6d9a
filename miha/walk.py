"""The algorithm, written once. A :class:`Runner` carries it out: in processes of this machine, or as Prefect tasks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager

from miha.decisions import Outcome
from miha.errors import MihaError, RunError
from miha.experiment import Cycle, Experiment
from miha.records.record import StageId, StageRecord
from miha.training.spec import StageSpec, longest_first


class Runner(ABC):
    """Who carries out the steps of a run; what a runner does not override is done right here, in this process."""

    @abstractmethod
    def pool(self, processes: int) -> AbstractContextManager[None]:
        """Processes of this machine to compute in while the block runs; on leaving, unfinished work is stopped."""

    def training_pool(self, processes: int) -> AbstractContextManager[None]:
        """The same for :meth:`train`, if it computes on this machine at all."""
        return self.pool(processes)

    @abstractmethod
    def train(self, specs: Sequence[StageSpec]) -> list[StageRecord | Exception]:
        """Train stages side by side, started in their order; of each its record, or the error it failed with for good.

        A failure that may pass (a dead process, I/O) is tried again as often as ``faults.retries`` says. What failed
        for good is recorded by the walk when all have ended.
        """

    def prepare(self, experiment: Experiment) -> None:
        """Compute once what every stage needs."""
        experiment.prepare()

    def search_ends(self, experiment: Experiment, number: int) -> bool:
        """Whether a limit of the schedule ends the search before a cycle."""
        return experiment.search_ends(number)

    def generate_population(self, experiment: Experiment, number: int, parent: StageRecord) -> Cycle:
        """Draw the candidates of a cycle."""
        return experiment.generate_population(number, parent)

    def select_fittest(self, experiment: Experiment, cycle: Cycle) -> None:
        """Choose the candidate that goes on."""
        cycle.selection = experiment.select_fittest(cycle)


def walk(experiment: Experiment, runner: Runner) -> None:
    """All stages, in their order: base, initial training, cycles of population, selection, fixing, final training.

    If a limit of the schedule ends the search, final training follows at once.

    Args:
        experiment: opened, with no stage yet.
        runner: who carries out the steps.

    Raises:
        MihaError: what cannot be carried on with; the same call again continues where it was.
    """
    plan, schedule = experiment.plan, experiment.config.schedule
    with runner.pool(experiment.preparing_processes):
        runner.prepare(experiment)
    with runner.training_pool(experiment.training_processes):
        base = experiment.begin(_train(runner, plan.base()))
        if plan.legs:
            _replay(runner, experiment, base)
            return
        current = experiment.end_initial(_train(runner, plan.initial(base)))
        for number in range(1, schedule.cycles + 1):
            if runner.search_ends(experiment, number):
                break
            if experiment.config.unchanged or experiment.puts_off():
                cycle = Cycle(number, current)
                fixing = plan.unchanged(number, current)
            else:
                cycle = runner.generate_population(experiment, number, current)
                _train_candidates(runner, experiment, cycle)
                runner.select_fittest(experiment, cycle)
                fixing = plan.fixing(number, cycle.winner)
            current = experiment.end_cycle(cycle, _train(runner, fixing))
        experiment.finish(_train(runner, plan.final(current)))


def _replay(runner: Runner, experiment: Experiment, base: StageRecord) -> None:
    """Train along a schedule, without any population."""
    plan, last = experiment.plan, len(experiment.plan.legs) - 1
    current = experiment.end_initial(_train(runner, plan.leg(0, base)))
    for number in range(1, last):
        current = experiment.end_cycle(Cycle(number, current), _train(runner, plan.leg(number, current)))
    experiment.finish(_train(runner, plan.leg(last, current)))


def _train_candidates(runner: Runner, experiment: Experiment, cycle: Cycle) -> None:
    """Train all candidates, in a race the better half of them to their end, and average them if that is wanted."""
    if experiment.config.schedule.racing:
        cycle.outcomes = _train_siblings(runner, experiment, [spec.heat for spec in cycle.specs])
        numbers = experiment.finishers(cycle, cycle.outcomes)
        finished = _train_siblings(runner, experiment, [cycle.specs[number] for number in numbers])
        for number, outcome in zip(numbers, finished, strict=True):
            cycle.outcomes[number] = outcome
    else:
        cycle.outcomes = _train_siblings(runner, experiment, cycle.specs)
    if soup := experiment.soup(cycle):
        cycle.specs.append(soup)
        cycle.outcomes += _train_siblings(runner, experiment, [soup])


def _train_siblings(runner: Runner, experiment: Experiment, specs: Sequence[StageSpec]) -> list[Outcome]:
    """Train stages side by side; one that fails for good is recorded and does not stop its siblings."""
    decisions = experiment.decisions
    outcomes: dict[StageId, Outcome] = {
        spec.stage: failure for spec in specs if (failure := decisions.failed_before(spec))
    }
    wanted = longest_first([spec for spec in specs if spec.stage not in outcomes])
    for spec, result in zip(wanted, runner.train(wanted), strict=True):
        _refuse_cancelled(spec, result)
        outcomes[spec.stage] = decisions.fail(spec, result) if isinstance(result, Exception) else result
    return [outcomes[spec.stage] for spec in specs]


def _train(runner: Runner, spec: StageSpec) -> StageRecord:
    """Train a stage without which the run cannot go on."""
    (result,) = runner.train([spec])
    _refuse_cancelled(spec, result)
    if isinstance(result, MihaError):
        raise result
    if isinstance(result, Exception):
        raise RunError(
            f"{spec.name} ({spec.stage.kind} training) failed: {type(result).__name__}: {result}. Remove the cause "
            "and run the same command again; it continues."
        ) from result
    return result


def _refuse_cancelled(spec: StageSpec, result: StageRecord | Exception) -> None:
    """A stopped pool or a lost cluster is no candidate's doing: the run stops, and records no failure."""
    if isinstance(result, CancelledError):
        raise RunError(
            f"{spec.name} was not trained to its end: its pool was stopped, or its cluster is gone. Run the same "
            "command again; it continues."
        ) from result
