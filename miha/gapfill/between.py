"""A day of which nothing is visible, from the days around it in time."""

from datetime import date

import numpy as np
from numpy.typing import NDArray

from miha.errors import DataError
from miha.gapfill.guess import Window
from miha.gapfill.predictors import Background, Offsets
from miha.gapfill.process import Posterior
from miha.rasters.opened import OpenDays
from miha.rasters.stack import Stack

FARTHEST = 30  # days to the nearest one, at most
AROUND = 6  # days on each side that count
FADING = 2.0  # days after which a day counts 1/e as much
SHRINKAGE = 0.3  # pulls a pixel towards its level where the days around that show it are few or far


class Between:
    """Expects of a day the level, the offset between those of the days around it, and their fading anomalies.

    How sure that is comes of the days around, each expected from the others in the same way: one number for all pixels.

    Args:
        others: days that may tell of it, at least one.
        when: the day.

    Raises:
        DataError: no day is near enough.
    """

    def __init__(self, others: Stack, when: date) -> None:
        away = np.array([(taken - when).days for taken in others.dates])
        if not len(away) or np.abs(away).min() > FARTHEST:
            raise DataError(f"no observed day lies within {FARTHEST} days of {when}. Leave it out of --dates.")
        before, after = np.flatnonzero(away < 0)[-AROUND:], np.flatnonzero(away > 0)[:AROUND]
        near = np.concatenate([before, after])
        self.stack, self.near, self.away = others, near, away[near]
        values = others.values
        sample = OpenDays.stand_in(values)
        self.offsets = Offsets.fit(sample)
        background = self.offsets.background(sample)
        self.std = self._error(background)

    def fill(self, where: Window) -> Posterior:
        """Mean and deviation of a window."""
        background = self.offsets.background(self.stack.values[:, *where])
        mean = background.level + _expected(background.anomalies[self.near], background.offsets[self.near], self.away)
        return Posterior(mean, np.full_like(mean, self.std))

    def _error(self, background: Background) -> float:
        """Root mean square error at days around, each expected from the others."""
        errors = []
        for place, day in enumerate(self.near):
            others = np.delete(self.near, place)
            if not len(others):
                continue
            away = np.delete(self.away, place) - self.away[place]
            expected = _expected(background.anomalies[others], background.offsets[others], away)
            errors.append(background.anomalies[day] + background.offsets[day] - expected)
        found = np.concatenate([error.ravel() for error in errors]) if errors else background.anomalies.ravel()
        return float(np.sqrt(np.nanmean(found**2)))


def _expected(
    anomalies: NDArray[np.float32], offsets: NDArray[np.float32], away: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Departure from the level (height, width), of days ``away`` from it, sorted."""
    weights = np.exp(-np.abs(away) / FADING).astype(np.float32)
    seen = ~np.isnan(anomalies)
    total = np.tensordot(weights, seen, axes=1) + np.float32(SHRINKAGE)
    anomaly = np.tensordot(weights, np.nan_to_num(anomalies), axes=1) / total
    return np.asarray(anomaly + np.interp(0, away, offsets), np.float32)
