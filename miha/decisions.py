"""What is decided between the stages of a run: which candidates failed, which stop early, and which one goes on.

Decisions are files, ``<cycle>_selection.json`` and ``<cycle>_<candidate>_failure.json``: a resumed run never decides
anew, and never revives a candidate that failed.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from miha.documents import read_document
from miha.errors import DataError, RunError
from miha.events import CandidateFailed, publish
from miha.evolution.change import UNCHANGED
from miha.evolution.fitness import ALIKE, Fitness, FitnessSettings, fittest, noise, score, score_mean, within_noise
from miha.files import digest_json, write_json
from miha.records.record import StageRecord
from miha.records.selection import STOPPED, CandidateOutcome, Failure, Selection
from miha.training.archives import read_if_whole
from miha.training.spec import StageSpec
from miha.wording import plural

Outcome = StageRecord | Failure
_Decision = TypeVar("_Decision", bound=BaseModel)


class Decisions:
    """The decisions of one run.

    Args:
        folder: where they are kept, the run's ``population/``.
        fitness: how candidates are compared.
        min_survivors: candidates that must be left for a cycle to go on.
    """

    def __init__(self, folder: Path, fitness: FitnessSettings, min_survivors: int) -> None:
        self.folder = folder
        self.fitness = fitness
        self.criterion = digest_json(fitness.model_dump(mode="json"))
        self.min_survivors = min_survivors

    def failed_before(self, spec: StageSpec) -> Failure | None:
        """The failure of a candidate that failed for good in an earlier try of this run."""
        failure = _read(Failure, self._failure_file(spec))
        if failure is None or failure.digest != spec.digest or read_if_whole(spec.archive, spec.digest):
            return None
        return failure

    def fail(self, spec: StageSpec, error: BaseException) -> Outcome:
        """Record that a candidate failed for good, unless its archive is there: then only the word of it was lost.

        Raises:
            DataError: the data cannot be used any more, which is not the candidate's doing.
        """
        if archive := read_if_whole(spec.archive, spec.digest):
            return archive.manifest.record
        if isinstance(error, DataError):
            raise error
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        failure = Failure(stage=spec.stage, digest=spec.digest, reason=reason)
        write_json(self._failure_file(spec), failure.model_dump())
        publish(CandidateFailed(spec.stage, spec.change, reason))
        return failure

    def select(
        self, cycle: int, parent: StageRecord, specs: Sequence[StageSpec], outcomes: Sequence[Outcome]
    ) -> Selection:
        """Choose the fittest candidate of a cycle, or read what was chosen before.

        Raises:
            RunError: fewer than ``min_survivors`` candidates came through (the message says what happened to each), or
                the archive of what was chosen before is lost.
        """
        digests = tuple(spec.digest for spec in specs)
        file = self.folder / f"{cycle}_selection.json"
        selection = _read(Selection, file)
        if selection is None or (selection.digests, selection.criterion) != (digests, self.criterion):
            selection = self._decide(cycle, parent, specs, outcomes)
            write_json(file, selection.model_dump(mode="json"))
        for spec in specs:
            for stage in (spec, spec.heat):
                stage.checkpoint.unlink(missing_ok=True)  # of candidates that failed for good: they are never revived
        if not isinstance(outcomes[selection.selected], StageRecord):
            raise RunError(
                f"candidate {selection.selected} of cycle {cycle} was selected, but its archive is lost and it could "
                f"not be trained again. Remove {file} to select anew."
            )
        return selection

    def _decide(
        self, cycle: int, parent: StageRecord, specs: Sequence[StageSpec], outcomes: Sequence[Outcome]
    ) -> Selection:
        scores = self._scores(parent, specs, outcomes)
        judged = [
            _judged(cycle, number, spec, outcome, scores[number])
            for number, (spec, outcome) in enumerate(zip(specs, outcomes, strict=True))
        ]
        alive = _alive(scores, outcomes)
        survivors = sum(one.status in ("ok", STOPPED) and not one.change.members for one in judged)
        if survivors < self.min_survivors or not alive:
            for spec in specs:  # nothing was decided, so the next try may train them again
                for stage in (spec, spec.heat):
                    self._failure_file(stage).unlink(missing_ok=True)
            fates = "; ".join(f"{one.candidate} ({one.change}) {one.status}" for one in judged)
            raise RunError(
                f"{plural(survivors, 'candidate')} of cycle {cycle} survived, faults.min_survivors is "
                f"{self.min_survivors}: {fates}. Remove the cause and run the same command again."
            )
        return Selection(
            cycle=cycle,
            selected=self._selected(alive, specs, outcomes),
            criterion=self.criterion,
            digests=tuple(spec.digest for spec in specs),
            outcomes=tuple(judged),
        )

    def _selected(self, alive: Mapping[int, Fitness], specs: Sequence[StageSpec], outcomes: Sequence[Outcome]) -> int:
        """Number of the fittest, or of a soup that it leads and that is as good within the noise."""
        single = {number: one for number, one in alive.items() if not specs[number].members}
        first = fittest(single, self.fitness, _control(specs))
        leader = outcomes[first]
        for number in alive.keys() - single.keys():
            soup = outcomes[number]
            assert isinstance(soup, StageRecord), "what is alive did not fail"
            assert isinstance(leader, StageRecord), "what is alive did not fail"
            if within_noise(soup.valid_loss, soup.shares, leader.valid_loss, leader.shares, ALIKE):
                return number
        return first

    def finishers(
        self, parent: StageRecord, specs: Sequence[StageSpec], heats: Sequence[Outcome], wanted: int
    ) -> list[int]:
        """Numbers of the candidates that train on after their heat: the control, and the fittest of the others."""
        scores = self._scores(parent, specs, heats)
        alive = [number for number, one in scores.items() if one and not one.diverged]
        control = _control(specs)
        best = sorted(alive, key=lambda number: (number != control, -_value(scores[number]), number))
        return sorted(best[:wanted])

    def members(
        self, parent: StageRecord, specs: Sequence[StageSpec], outcomes: Sequence[Outcome]
    ) -> list[StageRecord]:
        """The candidates to make a soup of: the one that would go on by itself, then the others, best first."""
        scores = _alive(self._scores(parent, specs, outcomes), outcomes)
        if not scores:
            return []
        first = fittest(scores, self.fitness, _control(specs))
        ranked = sorted(scores, key=lambda number: (number != first, -scores[number].level, number))
        return [outcome for number in ranked if isinstance(outcome := outcomes[number], StageRecord)]

    def _scores(
        self, parent: StageRecord, specs: Sequence[StageSpec], outcomes: Sequence[Outcome]
    ) -> dict[int, Fitness | None]:
        """The scores of each candidate by number; None if it failed."""
        control = _control(specs)
        rival = None if control is None else outcomes[control]
        scores: dict[int, Fitness | None] = {}
        for number, outcome in enumerate(outcomes):
            scores[number] = None
            if isinstance(outcome, Failure):
                continue
            fitness = self._fitness(parent, outcome, outcomes)
            if isinstance(rival, StageRecord) and outcome.shares and rival.shares:
                fitness = fitness._replace(noise=noise(parent.valid_loss, outcome.shares, rival.shares))
            scores[number] = fitness
        return scores

    def _fitness(self, parent: StageRecord, outcome: StageRecord, outcomes: Sequence[Outcome]) -> Fitness:
        if members := outcome.change.members:
            first = outcomes[members[0]]
            assert isinstance(first, StageRecord), "a soup is made of those that did not fail"
            return score_mean(parent.valid_loss, first.losses, outcome.valid_loss, self.fitness)
        return score(parent.valid_loss, outcome.losses, self.fitness)

    def _failure_file(self, spec: StageSpec) -> Path:
        return self.folder / f"{spec.name}_failure.json"


def _control(specs: Sequence[StageSpec]) -> int | None:
    """Number of the unchanged candidate, if there is one."""
    return next((number for number, spec in enumerate(specs) if spec.change == UNCHANGED), None)


def _alive(scores: Mapping[int, Fitness | None], outcomes: Sequence[Outcome]) -> dict[int, Fitness]:
    """The scores of the candidates that came to their end."""
    return {
        number: one for number, one in scores.items() if one and not one.diverged and not _stopped(outcomes[number])
    }


def _stopped(outcome: Outcome) -> bool:
    return isinstance(outcome, StageRecord) and outcome.stage.kind == "heat"


def _value(fitness: Fitness | None) -> float:
    return -math.inf if fitness is None else fitness.value


def _judged(cycle: int, number: int, spec: StageSpec, outcome: Outcome, fitness: Fitness | None) -> CandidateOutcome:
    status, scores = "ok", {}
    if isinstance(outcome, Failure):
        status = f"failed: {outcome.reason}"
    elif fitness and fitness.diverged:
        status = "diverged"
    elif _stopped(outcome):
        status = STOPPED
    elif fitness:
        scores = {"fitness": fitness.value, "level": fitness.level, "rate": fitness.rate, "noise": fitness.noise}
    point = spec.hyperparameters
    change = outcome.change if isinstance(outcome, StageRecord) else spec.change
    return CandidateOutcome(
        cycle=cycle, candidate=number, change=change, hyperparameters=point, status=status, **scores
    )


def _read(kind: type[_Decision], file: Path) -> _Decision | None:
    """A decision from its file; None if there is none.

    Raises:
        RunError: the file was altered.
    """
    return read_document(file, kind, RunError, "Remove it to decide anew.") if file.exists() else None
