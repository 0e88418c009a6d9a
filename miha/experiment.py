"""One run of the algorithm: its plan, and what has come of it so far. It trains nothing itself."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from miha.budget import Budget
from miha.config import RunConfig
from miha.decisions import Decisions, Outcome
from miha.errors import RunError
from miha.events import Message, RunEnded, RunStarted, SearchEnded, Selected, Working, publish
from miha.evolution.change import UNCHANGED
from miha.evolution.fitness import within_noise
from miha.evolution.steps import FILE, Leg, steps_of, write_steps
from miha.plan import Plan
from miha.records.gains import gains
from miha.records.record import StageRecord
from miha.records.selection import Selection
from miha.records.tables import population_frame
from miha.rundir import RunDirectory
from miha.threads import usable_cores
from miha.training.spec import StageSpec
from miha.training.workers import compute_all
from miha.wording import plural


@dataclass
class Cycle:
    """One cycle of a run, as far as it has come; that of an unchanged baseline has no candidates.

    Attributes:
        number: from 1.
        parent: the mainline stage that its candidates start from.
        specs: of the candidates.
        outcomes: of the candidates, in their order.
        selection: which of them goes on.
        fixing: the mainline stage that it ends with.
    """

    number: int
    parent: StageRecord
    specs: list[StageSpec] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    selection: Selection | None = None
    fixing: StageRecord | None = None

    @property
    def candidates(self) -> list[StageRecord]:
        """Records of the candidates that did not fail."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, StageRecord)]

    @property
    def winner(self) -> StageRecord:
        """Record of the selected candidate."""
        assert self.selection is not None
        winner = self.outcomes[self.selection.selected]
        assert isinstance(winner, StageRecord), "decisions.select saw to it"
        return winner


class Experiment:
    """The state of one run.

    Attributes:
        plan: the specifications of its stages.
        directory: where its files are.
        decisions: those that were taken.
        budget: what may still be spent on the search.
        ended: why the search ended before its last cycle, a sentence; "" if it did not.
        left_out: epochs that were not trained for that.
        base: record of the network before any training.
        initial: record of initial training.
        cycles: in their order.
        final: record of final training.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.plan = Plan.of(config)
        self.directory = RunDirectory(config.run_dir)
        self.decisions = Decisions(self.directory.path / "population", config.fitness, config.faults.min_survivors)
        self.budget = Budget(self.directory.path / "population", config.schedule)
        self.ended, self.left_out = "", 0
        self.base: StageRecord | None = None
        self.initial: StageRecord | None = None
        self.cycles: list[Cycle] = []
        self.final: StageRecord | None = None

    # ---------------------------------------------------------------- before the first stage

    def check(self) -> None:
        """Say what would stop the run before anything is started.

        Raises:
            RunError: archives of another configuration would be lost.
        """
        self.directory.refuse_loss(self.plan.decisive(), self.config.replace)

    @property
    def preparing_processes(self) -> int:
        """How many processes prepare samples, on the CPU."""
        return self.config.run.workers or usable_cores()

    @property
    def training_processes(self) -> int:
        """How many processes train. Candidates share a GPU only if the user says so: it is busy with one."""
        most = 1 if self.plan.compute.device == "cuda" else self.config.schedule.population_size
        return self.config.run.workers or min(usable_cores(), most)

    def ended_before(self) -> bool:
        """True if this very run came to its end and kept its final models only, so that no stage could be reused.

        What it then had no time to remove is removed now.

        Raises:
            RunError: the directory is in use.
        """
        if not self.directory.finished_alone(self.plan.decisive()):
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
        config, compute = self.config, self.plan.compute
        with self.directory.held():
            self.directory.refuse_loss(self.plan.decisive(), config.replace)
            self.directory.claim(self.plan.decisive(), config.replace)
            description = config.describe()
            publish(RunStarted(config.budget, description, str(config.run_dir), compute.device, compute.precision))
            if prior := self.plan.prior:
                chances = ", ".join(f"{name} {prior.mean(name):.2f}" for name in config.search.operators)
                publish(
                    Message(f"chance of each operator to win, by {len(config.search.prior)} earlier runs: {chances}")
                )
            yield
            self._conclude()

    def prepare(self) -> None:
        """Compute once what every stage of the run needs."""
        started = time.monotonic()
        publish(Working(f"samples from {self.plan.problem.data}"))
        parallel_map = partial(compute_all, retries=self.config.faults.retries, work="samples")
        self.plan.problem.build().prepare(self.directory.cache, self.config.seed, parallel_map)
        publish(Message(f"samples ready after {time.monotonic() - started:.0f} s"))

    # ---------------------------------------------------------------- from stage to stage

    @property
    def mainline(self) -> list[StageRecord]:
        """Records of the mainline so far: base, initial training, what each cycle ended with, final training."""
        records = (self.base, self.initial, *(cycle.fixing for cycle in self.cycles), self.final)
        return [record for record in records if record is not None]

    @property
    def _lineage(self) -> list[StageRecord]:
        """The mainline with the winner of each cycle."""
        of_cycles = [
            one for cycle in self.cycles for one in ((cycle.winner,) if cycle.selection else ()) + (cycle.fixing,)
        ]
        return [record for record in (self.base, self.initial, *of_cycles) if record is not None]

    def begin(self, record: StageRecord) -> StageRecord:
        """Take the record of the base; training begins now."""
        self.base = record
        self.budget.start()
        return self._advanced(record)

    def end_initial(self, record: StageRecord) -> StageRecord:
        """Take the record of initial training."""
        self.initial = record
        return self._advanced(record)

    def search_ends(self, number: int) -> bool:
        """True if the search ends before a cycle: by a limit of the schedule, or since no model betters the base."""
        why = self.budget.why_it_ends(number, self._lineage) or self._why_it_cannot_help(number)
        if why:
            schedule = self.config.schedule
            cycles = schedule.cycles - number + 1
            self.left_out = cycles * schedule.cycle_epochs
            place = f"cycle {number - 1} of {schedule.cycles}" if number > 1 else "initial training"
            self.ended = f"After {place} the search ended: {why}. Left out: {plural(self.left_out, 'epoch')}."
            publish(SearchEnded(self.ended, cycles, self.left_out))
        return bool(why)

    def _why_it_cannot_help(self, number: int) -> str:
        if number == 1 or self.config.schedule.insist or not self._keeps_base:
            return ""
        return "no model bettered the base by more than chance (--set schedule.insist=true trains on)"

    def generate_population(self, number: int, parent: StageRecord) -> Cycle:
        """Begin a cycle: draw its candidates."""
        before = [(cycle.parent, cycle.selection) for cycle in self.cycles if cycle.selection]
        specs = self.plan.population(number, parent, before)
        if len(specs) < (wanted := self.config.schedule.population_size):
            publish(
                Message(f"cycle {number}: {plural(len(specs), 'candidate')}, not {wanted}: no more distinct changes")
            )
        return Cycle(number, parent, specs)

    def finishers(self, cycle: Cycle, heats: list[Outcome]) -> list[int]:
        """Which candidates of a cycle train on after their heats."""
        wanted = math.ceil(len(cycle.specs) / 2)
        return self.decisions.finishers(cycle.parent, cycle.specs, heats, wanted)

    def soup(self, cycle: Cycle) -> StageSpec | None:
        """The mean of a cycle's candidates, as one candidate more; None if it is not wanted, or there are not two."""
        if not self.config.schedule.soups:
            return None
        members = self.decisions.members(cycle.parent, cycle.specs, cycle.outcomes)
        alike = [one for one in members if one.hyperparameters.activations == members[0].hyperparameters.activations]
        if len(alike) < len(members):
            others = ", ".join(str(one.stage.candidate) for one in members if one not in alike)
            publish(Message(f"cycle {cycle.number}: not averaged, since activations differ: candidates {others}"))
        return self.plan.soup(len(cycle.specs), alike) if len(alike) > 1 else None

    def puts_off(self) -> bool:
        """True if the control won the cycle before, so that the next population is put off."""
        last = self.cycles[-1].selection if self.cycles else None
        return self.config.schedule.put_off and last is not None and last.winner.change == UNCHANGED

    def select_fittest(self, cycle: Cycle) -> Selection:
        """Choose which candidate of a cycle goes on."""
        selection = self.decisions.select(cycle.number, cycle.parent, cycle.specs, cycle.outcomes)
        losses = {record.stage.candidate or 0: record.losses for record in cycle.candidates}
        publish(Selected(selection, losses))
        return selection

    def end_cycle(self, cycle: Cycle, fixing: StageRecord) -> StageRecord:
        """Take the record of the mainline stage that a cycle ends with."""
        cycle.fixing = fixing
        self.cycles.append(cycle)
        return self._advanced(fixing)

    def finish(self, record: StageRecord) -> StageRecord:
        """Take the record of final training."""
        self.final = record
        return self._advanced(record)

    def _advanced(self, record: StageRecord) -> StageRecord:
        if not math.isfinite(record.valid_loss):
            if record.stage.kind == "base":
                raise RunError("the validation loss before training is not finite. Look at the network and the data.")
            raise RunError(
                f"{record.name} ({record.stage.kind} training) diverged in epoch {record.last_epoch}: its loss is not "
                "finite. Lower start.lr, and look for NaN in the training data."
            )
        self.directory.write_tables(self.records, self.selections)
        return record

    # ---------------------------------------------------------------- the end

    @property
    def best(self) -> StageRecord:
        """The mainline stage with the lowest validation loss; of equals the first.

        Where the problem refines a base, that must be bettered by more than the noise, or is the best.
        """
        return self.mainline[0] if self._keeps_base else self._lowest

    @property
    def _lowest(self) -> StageRecord:
        return min(self.mainline, key=lambda record: record.valid_loss)

    @property
    def _keeps_base(self) -> bool:
        lowest, base, errors = self._lowest, self.mainline[0], self.config.fitness.noise
        equal = within_noise(base.valid_loss, base.shares, lowest.valid_loss, lowest.shares, errors)
        return self.config.problem.refines_base and equal

    @property
    def records(self) -> list[StageRecord]:
        """All records in the order of training: a cycle's candidates, then its fixing."""
        of_cycles = [record for cycle in self.cycles for record in (*cycle.candidates, cycle.fixing)]
        return [record for record in (self.base, self.initial, *of_cycles, self.final) if record is not None]

    @property
    def selections(self) -> list[Selection]:
        """The selection of each cycle."""
        return [cycle.selection for cycle in self.cycles if cycle.selection]

    @property
    def legs(self) -> list[Leg]:
        """What the mainline trained, of each winner the candidate's epochs too; of a soup those of its first member."""
        assert self.initial, "the walk has ended"
        assert self.final, "the walk has ended"
        if self.plan.legs:
            return list(self.plan.legs)
        schedule = self.config.schedule
        legs = [_leg(self.initial)]
        for cycle in self.cycles:
            if cycle.selection:
                members = cycle.winner.change.members
                winner = cycle.outcomes[members[0]] if members else cycle.winner
                assert isinstance(winner, StageRecord), "members of a soup did not fail"
                legs.append(_leg(winner, schedule.candidate_annealing))
            assert cycle.fixing, "the walk has ended"
            legs.append(_leg(cycle.fixing))
        return [*legs, _leg(self.final, schedule.final_annealing)]

    def _conclude(self) -> None:
        best, config, plan = self.best, self.config, self.plan
        data, folder = Path(plan.problem.data), self.directory.path
        self.directory.write_best(best.stage)
        apart = bool(config.schedule.averaging or config.schedule.transition)
        write_steps(self.directory.path / FILE, steps_of(self.legs, apart))
        self.directory.remove_leftovers(self.records, self.selections, self.budget.files)
        self.directory.write_provenance(
            {
                "configuration": config.model_dump(mode="json"),
                "data": str(data.relative_to(folder) if data.is_relative_to(folder) else data),
                "data_digest": plan.problem.fingerprint,
                "device": plan.compute.device,
                "precision": plan.compute.precision,
                "epochs": config.budget - self.left_out,
                "ended": self.ended,
            }
        )
        if config.run.keep == "final":
            self.directory.keep_final_only()
        assert self.base is not None, "the walk begins with it"
        sentences = gains(self.base, best, population_frame(self.selections), self.ended)
        publish(RunEnded(best.name, best.epochs[-1], str(config.run_dir), sentences))


def _leg(record: StageRecord, annealing: bool = False) -> Leg:
    return Leg(len(record.epochs), annealing, record.hyperparameters)
