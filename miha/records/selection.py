"""The decisions of a run: which candidates failed for good, which one of a cycle goes on, and where the search ends."""

import math

from pydantic import BaseModel, ConfigDict

from miha.evolution.change import UNCHANGED, Change, Child
from miha.evolution.crossover import Judged, crossovers
from miha.evolution.point import Hyperparameters
from miha.evolution.prior import Tally
from miha.records.record import StageId

STOPPED = "stopped"  # status of the worse half of a race


def won(level: float | None, control: float | None, noise: float | None) -> bool:
    """True if a candidate's level is above the control's by more than the noise; None stands for no level."""
    return level is not None and control is not None and level - control > (noise or 0.0)


class CandidateOutcome(BaseModel):
    """How one candidate of a cycle fared.

    ``status`` is ``ok``, ``diverged``, ``stopped`` (the worse half of a race), or ``failed: why``. Scores are
    None unless the candidate is ``ok``. ``noise`` is the standard error of the difference between its loss and the
    control's, as a fraction of the parent's like ``level``; 0 where it cannot be estimated.
    """

    model_config = ConfigDict(frozen=True)

    cycle: int
    candidate: int
    change: Change
    hyperparameters: Hyperparameters
    status: str
    fitness: float | None = None
    level: float | None = None
    rate: float | None = None
    noise: float | None = None


class Failure(BaseModel):
    """A candidate that failed for good, and why."""

    model_config = ConfigDict(frozen=True)

    stage: StageId
    digest: str
    reason: str


class Continuation(BaseModel):
    """Whether a limit of the schedule ended the search before a cycle.

    ``parent`` is the digest of the mainline stage before it; a decision counts only for the same stage and limits.
    ``seconds`` of training had passed, those of earlier tries included. ``ended`` says why the search ended; "" if it
    went on.
    """

    model_config = ConfigDict(frozen=True)

    cycle: int
    parent: str
    patience: int | None
    max_seconds: float | None
    seconds: float
    ended: str


class Selection(BaseModel):
    """The decision of one cycle. It is kept: a resumed run never decides anew, nor revives a candidate that failed.

    ``digests`` are those of the candidates' stages and ``criterion`` is that of the fitness settings; a selection
    counts only for the very same candidates judged in the same way.
    """

    model_config = ConfigDict(frozen=True)

    cycle: int
    selected: int
    criterion: str
    digests: tuple[str, ...]
    outcomes: tuple[CandidateOutcome, ...]

    @property
    def tally(self) -> Tally:
        """How often each kind of change lowered the control's loss by more than the noise."""
        control = next((one.level for one in self.outcomes if one.change == UNCHANGED), None)
        return Tally.of((one.change, won(one.level, control, one.noise)) for one in self.outcomes)

    @property
    def winner(self) -> CandidateOutcome:
        """The selected candidate."""
        return next(outcome for outcome in self.outcomes if outcome.candidate == self.selected)

    def crossovers(self, parent: Hyperparameters) -> list[Child]:
        """What the next cycle may take over: the winner with the change of another that was fitter than the control."""
        judged = [
            Judged(one.hyperparameters, one.change, -math.inf if one.fitness is None else one.fitness)
            for one in self.outcomes
            if not one.change.members
        ]
        members = self.winner.change.members
        return crossovers(parent, judged, members[0] if members else self.selected)
