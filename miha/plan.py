"""The specification of each stage of a run, from its configuration alone. Nothing here trains, decides or remembers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miha.config import RunConfig
from miha.evolution.change import UNCHANGED, Change, Child
from miha.evolution.experience import EXPERIENCE
from miha.evolution.hyperparameter import Offer
from miha.evolution.point import Hyperparameters
from miha.evolution.population import generate_population
from miha.evolution.prior import Tally
from miha.evolution.steps import Leg, legs_of
from miha.records.archive import FORMAT_VERSION
from miha.records.record import StageId, StageKind, StageRecord
from miha.records.selection import Selection
from miha.records.tables import read_prior
from miha.training.compute import Compute
from miha.training.loop import Span
from miha.training.pretrained import Pretrained, open_pretrained
from miha.training.spec import Parent, ProblemSpec, StageSpec, offer_of
from miha.training.transition import Transition

# What may differ between two calls that make, or continue, the same run.
NOT_DECISIVE: Any = {
    "run_dir": True,
    "replace": True,
    "faults": True,
    "problem": True,
    "pretrained": True,  # its digest decides
    "search": {"prior", "experience"},  # what is counted there is decisive, not where it lies
    "run": {"workers", "dask", "keep", "checkpoint_every"},
}
# Keys of a schedule that are left out while off, so that run directories of earlier versions are continued.
OFF_IF_ABSENT = ("averaging", "transition", "patience", "max_seconds")


@dataclass(frozen=True)
class Plan:
    """The specs of a run's stages.

    Attributes:
        config: of the run.
        problem: what it learns.
        offer: what the problem and its network let change.
        start: the hyperparameters of initial training.
        legs: of a replay, what to train along.
        prior: what changes were worth in earlier runs; None: not asked for.
        experience: what directions of changes were worth in benchmarks; None: not asked for.
        compute: device, precision and threads.
        run_dir: absolute.
        pretrained: where its weights come from; None: they are drawn.
    """

    config: RunConfig
    problem: ProblemSpec
    offer: Offer
    start: Hyperparameters
    legs: Sequence[Leg]
    prior: Tally | None
    experience: Tally | None
    compute: Compute
    run_dir: Path
    pretrained: Pretrained | None = None

    @classmethod
    def of(cls, config: RunConfig) -> "Plan":
        """Open the problem's data, look at its network, and decide what is left to be decided ("auto").

        Raises:
            ArchiveError: the pretrained archive is damaged, or of another network.
            ConfigError: a start, or a step to replay, that the problem has no place for; a prior that is no run.
            DataError: the data cannot be used.
            RunError: a GPU is asked for where there is none.
        """
        problem = config.problem.model_copy(update={"data": config.problem.data.absolute()})
        execution, run_dir = config.run, config.run_dir.absolute()
        offer = offer_of(problem)
        legs = legs_of(config.replay, offer)
        start, pretrained = legs[0].point if legs else config.start.point(offer), None
        if config.pretrained:
            pretrained, activations = open_pretrained(config.pretrained.absolute(), problem, offer)
            start = start.model_copy(update={"activations": activations})
        return cls(
            config=config,
            problem=ProblemSpec.of(problem, run_dir / "cache"),
            offer=offer,
            start=start,
            legs=legs,
            prior=read_prior(() if legs else config.search.prior),  # a replay draws nothing
            experience=EXPERIENCE if config.search.experience and not legs else None,
            compute=Compute.resolve(execution.device, execution.precision, execution.threads, problem),
            run_dir=run_dir,
            pretrained=pretrained,
        )

    def decisive(self) -> dict[str, Any]:
        """All that decides the result of the run, as JSON: its ``config.json``."""
        content = self.config.model_dump(mode="json", exclude=NOT_DECISIVE)
        content["problem"] = self.problem.settings
        schedule = {key: one for key, one in content["schedule"].items() if one or key not in OFF_IF_ABSENT}
        content["schedule"] = {**schedule, "final_epochs": self.config.schedule.closing_epochs}
        content["start"] = self.start.model_dump(mode="json", exclude={"activations"})
        known = {"prior": self.prior, "experience": self.experience}
        content |= {name: tally.model_dump() for name, tally in known.items() if tally}
        content["run"] |= self.compute.model_dump(mode="json")
        digests = {"data_digest": self.problem.fingerprint, "network_digest": self.problem.code}
        if self.pretrained:
            digests["pretrained_digest"] = self.pretrained.digest
        return {**content, **digests, "format_version": FORMAT_VERSION}

    def base(self) -> StageSpec:
        """The network before any training, validated like all others: what training must better."""
        spec = self._spec(StageId(kind="base", cycle=0), None, self.start, 1)  # epoch 0, which trains nothing
        return spec.model_copy(update={"pretrained": self.pretrained, "averaging": 0.0})

    def initial(self, base: StageRecord) -> StageSpec:
        """Initial training."""
        stage = StageId(kind="initial", cycle=0)
        return self._spec(stage, base, self.start, self.config.schedule.initial_epochs)

    def population(
        self, cycle: int, parent: StageRecord, before: Sequence[tuple[StageRecord, Selection]]
    ) -> list[StageSpec]:
        """The candidates of a cycle: the control and its changed siblings, all from ``parent``.

        Args:
            cycle: from 1.
            parent: the mainline stage that they start from.
            before: of each cycle before, the parent of its candidates and what was selected.
        """
        config, schedule = self.config, self.config.schedule
        own = sum((selection.tally for _, selection in before), Tally())
        known = [tally for tally in (self.prior, self.experience) if tally]
        inherited: list[Child] = []
        if before:
            last_parent, last = before[-1]
            room = min(config.search.crossovers, schedule.population_size - 1)
            inherited = last.crossovers(last_parent.hyperparameters)[:room]
        children = generate_population(
            parent.hyperparameters,
            config.search,
            self.offer,
            schedule.population_size,
            config.seed,
            cycle,
            inherited=inherited,
            turn=sum(one.change.drawn for _, selection in before for one in selection.outcomes),
            prior=self.prior + own if self.prior else None,
            directions=sum(known, own) if known else None,
        )
        specs = [
            self._spec(
                StageId(kind="candidate", cycle=cycle, candidate=number),
                parent,
                child.point,
                schedule.candidate_epochs,
                child.change,
                schedule.candidate_annealing,
            )
            for number, child in enumerate(children)
        ]
        heat = {"heat_until": specs[0].span.first + schedule.racing - 1} if schedule.racing else {}
        return [
            spec.model_copy(update={**heat, "order": number if schedule.own_orders else 0})
            for number, spec in enumerate(specs)
        ]

    def soup(self, number: int, members: Sequence[StageRecord]) -> StageSpec:
        """The mean of some candidates of a cycle.

        Args:
            number: of the soup, after those of the candidates.
            members: to average, all of the same activations; the first gives hyperparameters and optimizer.
        """
        first = members[0]
        stage = StageId(kind="soup", cycle=first.stage.cycle, candidate=number)
        numbers = tuple(member.stage.candidate or 0 for member in members)
        change = first.change.model_copy(update={"members": numbers})
        spec = self._spec(stage, first, first.hyperparameters, 1, change)
        parents = tuple(Parent(stage=member.stage, digest=member.digest) for member in members)
        span, timeout = Span(first.last_epoch, first.last_epoch), self.config.faults.timeout
        return spec.model_copy(update={"members": parents, "span": span, "timeout": timeout})

    def fixing(self, cycle: int, winner: StageRecord) -> StageSpec:
        """Training of a cycle's winner, alone."""
        stage = StageId(kind="fixing", cycle=cycle)
        return self._spec(stage, winner, winner.hyperparameters, self.config.schedule.fixing_epochs, winner.change)

    def unchanged(self, cycle: int, parent: StageRecord) -> StageSpec:
        """A baseline's cycle: as many epochs as a cycle costs, its population counted, and no change."""
        stage = StageId(kind="fixing", cycle=cycle)
        return self._spec(stage, parent, parent.hyperparameters, self.config.schedule.cycle_epochs)

    def leg(self, number: int, parent: StageRecord) -> StageSpec:
        """A step of a replay, from 0: initial training, what cycles did to the mainline, final training."""
        leg, last = self.legs[number], len(self.legs) - 1
        kind: StageKind = "initial" if number == 0 else "final" if number == last else "fixing"
        stage = StageId(kind=kind, cycle=min(number, last - 1))
        return self._spec(stage, parent, leg.point, leg.epochs, leg.change, leg.annealing)

    def final(self, parent: StageRecord) -> StageSpec:
        """Final training."""
        schedule = self.config.schedule
        stage = StageId(kind="final", cycle=parent.stage.cycle)
        point, epochs = parent.hyperparameters, schedule.closing_epochs
        return self._spec(stage, parent, point, epochs, annealing=schedule.final_annealing)

    def _spec(
        self,
        stage: StageId,
        parent: StageRecord | None,
        point: Hyperparameters,
        epochs: int,
        change: Change = UNCHANGED,
        annealing: bool = False,
    ) -> StageSpec:
        first = parent.last_epoch + 1 if parent else 0
        return StageSpec(
            stage=stage,
            change=change,
            parent=Parent(stage=parent.stage, digest=parent.digest) if parent else None,
            hyperparameters=point,
            transition=self._transition(parent, point, epochs),
            span=Span(first, first + epochs - 1, annealing),
            seed=self.config.seed,
            averaging=self.config.schedule.averaging,
            problem=self.problem,
            compute=self.compute,
            checkpoint_every=self.config.run.checkpoint_every,
            timeout=self.config.timeout_of(epochs),
            run_dir=str(self.run_dir),
        )

    def _transition(self, parent: StageRecord | None, point: Hyperparameters, epochs: int) -> Transition | None:
        """From the activations of a parent to those of a point, where they differ and it is not to be at once."""
        former = parent.hyperparameters.activations if parent else {}
        changed = {layer: name for layer, name in former.items() if name != point.activations[layer]}
        length = min(self.config.schedule.transition, epochs)
        return Transition(epochs=length, activations=changed) if changed and length else None
