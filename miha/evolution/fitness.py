"""Fitness of a candidate, from its validation losses and its parent's."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

DIVERGED_FACTOR = 10.0  # a last loss above so many times the parent's counts as diverged


class FitnessSettings(BaseModel):
    """How candidates are compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["level_rate", "article"] = Field(
        "level_rate",
        description="level_rate: gain over the parent plus rate of the last epoch; article: (L1 - Ln) - Ln",
    )
    rate_weight: float = Field(0.5, ge=0, allow_inf_nan=False, description="weight of the rate beside the level")


class Fitness(NamedTuple):
    """Scores of one candidate; higher is fitter. ``level`` and ``rate`` are fractions of a loss."""

    value: float
    level: float
    rate: float

    @property
    def diverged(self) -> bool:
        """True if the candidate can never be selected."""
        return self.value == -math.inf


def score(parent_loss: float, losses: Sequence[float | None], settings: FitnessSettings) -> Fitness:
    """Score one candidate by the losses after each of its epochs (None: not finite).

    With the parent's loss L0 and the losses L1 … Ln: ``level = (L0 - Ln) / L0``, ``rate = (Ln-1 - Ln) / Ln-1`` and
    fitness is ``level + rate_weight * rate``; the article's own is ``(L1 - Ln) - Ln``. A loss that is not finite, or a
    last one above ten times L0, gives minus infinity. For negative losses differences are taken relative to |L0|.
    """
    values = [parent_loss, *(math.nan if loss is None else loss for loss in losses)]
    last = values[-1]
    worse = last - parent_loss
    if not all(math.isfinite(value) for value in values) or worse > (DIVERGED_FACTOR - 1) * _size(parent_loss):
        return Fitness(-math.inf, -math.inf, -math.inf)
    level, rate = _gain(parent_loss, last), _gain(values[-2], last)
    if settings.kind == "article":
        return Fitness((values[1] - last) - last, level, rate)
    return Fitness(level + settings.rate_weight * rate, level, rate)


def _gain(before: float, after: float) -> float:
    return (before - after) / _size(before)


def _size(loss: float) -> float:
    """What a difference of losses is measured by: a loss may be negative (a likelihood) or 0."""
    return abs(loss) or 1.0


def fittest(scores: Sequence[Fitness]) -> int:
    """Index of the fittest; of equals the first, so that the control wins a tie."""
    return max(range(len(scores)), key=lambda index: (scores[index].value, -index))
