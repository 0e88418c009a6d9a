"""Fitness of a candidate, from its validation losses and its parent's."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

DIVERGED_FACTOR = 10.0  # a last loss above so many times the parent's counts as diverged
ALIKE = 1.0  # standard errors above the lowest loss up to which a mean of more candidates is as good


class FitnessSettings(BaseModel):
    """How candidates are compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["level_rate", "article"] = Field(
        "level_rate",
        description="level_rate: gain over the parent plus rate of the last epoch; article: (L1 - Ln) - Ln",
    )
    rate_weight: float = Field(0.5, ge=0, allow_inf_nan=False, description="weight of the rate beside the level")
    noise: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="standard errors by which a candidate must lower the control's loss, and a network that of the "
        "base it refines",
    )


class Fitness(NamedTuple):
    """Scores of one candidate; higher is fitter. All but ``value`` are fractions of a loss.

    ``noise`` is the standard error of the difference between its level and the control's.
    """

    value: float
    level: float
    rate: float
    noise: float = 0.0

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


def score_mean(parent_loss: float, losses: Sequence[float | None], loss: float, settings: FitnessSettings) -> Fitness:
    """Score the mean of candidates: its own level, with the rate of the member whose hyperparameters go on.

    Averaging lowers a loss at once, which says nothing of how fast training goes on.

    Args:
        parent_loss: validation loss of the parent.
        losses: of that member, after each of its epochs.
        loss: of the mean.
        settings: how candidates are compared.
    """
    own = score(parent_loss, [*losses[:-1], loss], settings)
    if own.diverged or settings.kind == "article":
        return own
    rate = score(parent_loss, losses, settings).rate
    return own._replace(value=own.level + settings.rate_weight * rate, rate=rate)


def noise(parent_loss: float, shares: Sequence[float], control: Sequence[float]) -> float:
    """Standard error of the difference of two validation losses, as a fraction of the parent's, like ``level``.

    It is what a paired bootstrap over the blocks of validation samples tends to as its draws become many (Efron and
    Tibshirani 1993, An Introduction to the Bootstrap, section 5.3), times √(n / (n - 1)). 0 of a single block, whose
    noise cannot be estimated.

    Args:
        parent_loss: validation loss of the parent.
        shares: what each of n blocks adds to the loss.
        control: the same of the model to compare with.
    """
    differences = [one - other for one, other in zip(shares, control, strict=True)]
    number, mean = len(differences), math.fsum(differences) / max(len(differences), 1)
    if number < 2:
        return 0.0
    error = math.sqrt(number / (number - 1) * math.fsum((one - mean) ** 2 for one in differences))
    return error / _size(parent_loss)


def within_noise(loss: float, shares: Sequence[float], other: float, others: Sequence[float], errors: float) -> bool:
    """True if a validation loss is not above another by more than so many standard errors of their difference.

    Args:
        loss: of a model.
        shares: what each of n blocks adds to it; none: there is no noise.
        other: the loss to compare with.
        others: its shares.
        errors: how many standard errors count as noise.
    """
    return loss - other <= (errors * noise(1.0, shares, others) if shares and others else 0.0)


def _gain(before: float, after: float) -> float:
    return (before - after) / _size(before)


def _size(loss: float) -> float:
    """What a difference of losses is measured by: a loss may be negative (a likelihood) or 0."""
    return abs(loss) or 1.0


def fittest(scores: Mapping[int, Fitness], settings: FitnessSettings, control: int | None = 0) -> int:
    """Number of the fittest candidate: of those that better the control's loss by more than the noise, or the control.

    Of equals the first. Where the control is lost, or there is none, all others compete.

    Args:
        scores: by number, of the candidates that neither failed nor diverged; at least one.
        settings: how many standard errors count as noise.
        control: number of the unchanged one.
    """
    if control is None or control not in scores:
        better = list(scores)
    else:
        level = scores[control].level
        better = [number for number, one in scores.items() if one.level - level > settings.noise * one.noise]
        better = better or [control]
    return max(better, key=lambda number: (scores[number].value, -number))
