"""The days of a history: which are clear, which train, validate and test, and gaps pasted on them."""

from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from miha.errors import DataError
from miha.events import Message, publish
from miha.evolution.seeds import stream
from miha.gapfill.gaps import LARGEST, SMALLEST, Gaps
from miha.rasters.opened import OpenDays
from miha.rasters.stack import Image
from miha.wording import plural

MIN_CLEAR = 0.3  # a day must show so much of what any day shows to have gaps pasted on it
MIN_DAYS = 4  # days that clear: two to learn from, one to validate on, one to test on
FEW_DAYS = 8  # a history of fewer gives rough estimates
MIN_VISIBLE = 32  # pixels that a pasted gap must leave to see
MIN_TARGETS = 16  # pixels of known truth that a pasted gap must hide


class Split(BaseModel):
    """Which days of the history (ISO dates) train, validate and test.

    Attributes:
        train: days that networks learn from, and that may fill others.
        valid: for each network of the model the days from which it does not learn, and which validate it. If there are
            several networks, half of them learn from a day and the other half are validated on it: the error is
            out of bag (Breiman 1996, Machine Learning 24, 123-140).
        test: days that neither fill nor are learned from.
    """

    model_config = ConfigDict(frozen=True)

    train: tuple[str, ...]
    valid: tuple[tuple[str, ...], ...]
    test: tuple[str, ...]

    @classmethod
    def draw(
        cls, dates: Sequence[date], clear: Sequence[int], valid: int, test: int, seed: int, networks: int = 1
    ) -> "Split":
        """Divide days; only clear ones validate and test, all others train.

        Each clear day has a place of its own in a random order, and the first of them test: as days are added, models
        share test days. None that a single network learned from becomes one, unless their number more than doubles.

        Args:
            dates: of all days.
            clear: indices of those that may validate and test.
            valid: how many validate a single network; of several each clear day validates half.
            test: how many test.
            seed: of the run.
            networks: how many learn side by side.
        """

        def iso(days: Sequence[int]) -> tuple[str, ...]:
            return tuple(dates[day].isoformat() for day in sorted(days))

        drawn = sorted(clear, key=lambda day: stream(seed, "split", dates[day].toordinal()).random())
        rest = drawn[test:]
        unseen = {*drawn[:test], *(rest[:valid] if networks == 1 else ())}
        train = [day for day in range(len(dates)) if day not in unseen]
        left_out = [
            [day for place, day in enumerate(rest) if _leaves_out(number, place, networks)]
            if networks > 1
            else rest[:valid]
            for number in range(networks)
        ]
        return cls(train=iso(train), valid=tuple(iso(days) for days in left_out), test=iso(drawn[:test]))

    @property
    def validating(self) -> list[str]:
        """The days that validate, in their order."""
        return sorted({day for days in self.valid for day in days})

    def learning(self, day: str) -> list[bool]:
        """Which networks learn from a day."""
        return [day not in days for days in self.valid]


def _leaves_out(network: int, place: int, networks: int) -> bool:
    """Whether one of several networks does not learn from the day at a place of the random order.

    Half of them leave out a day and the others the day after it, so that each learns from half of the days; from pair
    to pair the halves shift.
    """
    half = networks // 2
    return (network - place // 2 - place % 2 * half) % networks < half


def warn_if_few(days: int) -> None:
    """Tell whoever watches that a history of so many days is short, if it is."""
    if days < FEW_DAYS:
        history = f"the history has {plural(days, 'day')}, fewer than {FEW_DAYS}"
        publish(Message(f"{history}: values, standard deviations and estimated errors are rough. More days help."))


def clear_days(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which of the days (days, height, width) show MIN_CLEAR of all that any day shows: not of what is never seen.

    Of days that are opened and not read (:class:`OpenDays`), by the pixels that stand for them.
    """
    seen = ~np.isnan(OpenDays.stand_in(values))
    return np.flatnonzero(seen.sum(axis=(1, 2)) >= MIN_CLEAR * seen.any(axis=0).sum())


def paste_gap(day: Image, gaps: Gaps, fraction: float, rng: np.random.Generator) -> Image:
    """Hide about ``fraction`` of the visible pixels of a day; draws again until there is something to see and to learn.

    Raises:
        DataError: no drawn gap leaves MIN_VISIBLE pixels and hides MIN_TARGETS.
    """
    visible = ~np.isnan(day)
    for _ in range(100):
        gap = gaps.draw(fraction, day.shape, rng)
        if (visible & ~gap).sum() >= MIN_VISIBLE and (visible & gap).sum() >= MIN_TARGETS:
            return np.where(gap, np.float32(np.nan), day)
        fraction = rng.uniform(SMALLEST, LARGEST)
    raise DataError(f"the scenes ({day.shape[0]}x{day.shape[1]} pixels) are too small to paste gaps on.")
