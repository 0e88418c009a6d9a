"""What of a history predicts a scene: its level, and a number of days that does not grow with the history."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.companions import beside
from miha.gapfill.predictors import MIN_COMMON, Background
from miha.rasters.stack import Image, Stack
from miha.threads import library_threads

MOST_DAYS = 40  # that predict a scene; of a longer history these are made up of
NEAREST = 8  # days before it, and as many after it,
SIMILAR = 12  # others that resemble it,
PATTERNS = MOST_DAYS - 2 * NEAREST - SIMILAR  # and empirical orthogonal functions of all that are left
OVERSAMPLING, ITERATIONS = 10, 4  # of the randomized SVD
FAR, HIDDEN = 0.1, 0.05  # what tells of a scene of a day long ago, and of one that shows nothing


def background_of(scene: Image, history: Stack, when: date) -> Background:
    """The days of a history that predict a scene, and companions of its own day; none if there is no other day.

    Args:
        scene: (height, width), NaN in the gaps; at least one visible pixel.
        history: all days.
        when: the day of the scene.
    """
    others = history.without(when)
    if not len(others):
        return Background.none(scene)
    days_apart = apart(others.dates, when)
    background = bounded(weighed(Background.of(others.values), days_apart), scene, days_apart)
    return beside(background, history.companions, when)


def apart(dates: Sequence[date], when: date) -> NDArray[np.int64]:
    """How many days after a scene's each other is; before it: less than 0."""
    return np.array([(taken - when).days for taken in dates], np.int64)


def weighed(background: Background, days_apart: NDArray[np.int64]) -> Background:
    """The background with how much each of its days tells of a scene: more if near in time, less under clouds.

    Found on gaps pasted on history days; how exactly it fades with time hardly matters.
    """
    shown = 1 - np.isnan(background.anomalies).mean(axis=(1, 2))
    weights = (FAR + 1 / (1 + np.abs(days_apart))) * (HIDDEN + shown)
    return replace(background, weights=np.asarray(weights / weights.mean(), np.float32))


def bounded(background: Background, scene: Image, days_apart: NDArray[np.int64]) -> Background:
    """At most MOST_DAYS of the days of a background of a scene, see :class:`Choice`."""
    if len(background.offsets) <= MOST_DAYS:
        return background
    anomalies = background.anomalies.reshape(len(background.offsets), -1)
    return Choice.fit(anomalies, (scene - background.level).ravel(), days_apart).of(background)


@dataclass(frozen=True)
class Choice:
    """Which days predict a scene, and how patterns sum up the others.

    All days are kept if there are no more than MOST_DAYS. Else: the NEAREST days on both sides, the SIMILAR ones that
    correlate most with the visible part of the scene and show most of it and of its gap, and the first PATTERNS
    empirical orthogonal functions of the rest (randomized SVD, Halko, Martinsson and Tropp 2011, SIAM Rev. 53, 217),
    scaled to the spread of anomalies.

    Attributes:
        kept: indices of days, sorted.
        rest: indices of those that patterns sum up.
        weights: (patterns, rest), of anomalies of the rest.
    """

    kept: NDArray[np.int64]
    rest: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def fit(
        cls, anomalies: NDArray[np.float32], departure: NDArray[np.float32], days_apart: NDArray[np.int64]
    ) -> "Choice":
        """Choose by pixels that stand for a scene.

        Args:
            anomalies: (days, pixels) of the other days in the order of time, NaN in the gaps.
            departure: (pixels,), of the scene from the level; NaN in its gaps.
            days_apart: (days,), see :func:`apart`.
        """
        days, before = len(anomalies), int((days_apart < 0).sum())
        if days <= MOST_DAYS:
            return cls(np.arange(days), np.arange(0), np.empty((0, 0), np.float32))
        start = min(max(before - NEAREST, 0), days - 2 * NEAREST)
        nearest = np.arange(start, start + 2 * NEAREST)
        likeness = _likeness(anomalies, departure)
        likeness[nearest] = -np.inf
        kept = np.sort(np.concatenate([nearest, np.argsort(-likeness, kind="stable")[:SIMILAR]]))
        rest = np.setdiff1d(np.arange(days), kept)
        return cls(kept, rest, _patterns(np.nan_to_num(anomalies[rest]), min(PATTERNS, len(rest))))

    def of(self, background: Background) -> Background:
        """The chosen days and patterns, of any window of the background."""
        if not len(self.rest):
            return background
        anomalies = background.anomalies
        with library_threads(1):
            patterns = np.tensordot(self.weights, np.nan_to_num(anomalies[self.rest]), axes=1)
        offsets = np.concatenate([background.offsets[self.kept], np.zeros(len(patterns), np.float32)])
        of_patterns = np.full(len(patterns), background.weights[self.rest].mean(), np.float32)
        weights = np.concatenate([background.weights[self.kept], of_patterns])
        chosen = np.concatenate([anomalies[self.kept], patterns])
        return Background(background.level, offsets, chosen, weights / weights.mean())


def _likeness(anomalies: NDArray[np.float32], departure: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much each day (days, pixels) tells of a scene (pixels): |correlation| on what both show, less for clouds."""
    seen, visible = (~np.isnan(anomalies)).astype(np.float32), ~np.isnan(departure)
    theirs, ours = np.nan_to_num(anomalies), np.nan_to_num(departure - np.nanmean(departure))
    shown = visible.astype(np.float32)
    with library_threads(1):
        common = (seen @ shown).astype(np.float64)
        count = np.maximum(common, 1)
        sums, ours_sums = theirs @ shown, seen @ ours
        covariance = theirs @ ours - sums * ours_sums / count
        variances = (theirs**2) @ shown - sums**2 / count, seen @ ours**2 - ours_sums**2 / count
        hidden = seen @ (1 - shown)
    correlation = covariance / np.sqrt(np.maximum(variances[0] * variances[1], 1e-12))
    shares = common / max(visible.sum(), 1) * hidden / max((~visible).sum(), 1)
    return np.asarray(np.where(common < MIN_COMMON, 0, np.abs(correlation)) * np.sqrt(shares), np.float64)


def _patterns(anomalies: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """What weighs anomalies (days, pixels), 0 in the gaps, into orthogonal functions: (number, days)."""
    draws = np.random.default_rng(0).standard_normal((anomalies.shape[1], number + OVERSAMPLING), np.float32)
    with library_threads(1):
        basis = np.linalg.qr(anomalies @ draws)[0]
        for _ in range(ITERATIONS):
            basis = np.linalg.qr(anomalies @ (anomalies.T @ basis))[0]
        within, sizes, _ = np.linalg.svd(basis.T @ anomalies, full_matrices=False)
    courses, sizes = (basis @ within)[:, :number], sizes[:number]
    scale = anomalies.std() * np.sqrt(anomalies.shape[1])
    return np.asarray(courses.T * (scale / np.maximum(sizes, 1e-6))[:, None], np.float32)
