"""What of a history predicts a scene: its level, and a number of days that does not grow with the history."""

from datetime import date

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from miha.gapfill.predictors import MIN_COMMON, Background
from miha.rasters.stack import Image, Stack

MOST_DAYS = 40  # that predict a scene; of a longer history these are made up of
NEAREST = 8  # days before it, and as many after it,
SIMILAR = 12  # others that resemble it,
PATTERNS = MOST_DAYS - 2 * NEAREST - SIMILAR  # and empirical orthogonal functions of all that are left


def background_of(scene: Image, history: Stack, when: date) -> Background:
    """The days of a history that predict a scene, its own day left out; none if there is no other day.

    Args:
        scene: (height, width), NaN in the gaps; at least one visible pixel.
        history: all days.
        when: the day of the scene.
    """
    others = history.without(when)
    if not len(others):
        return Background.none(scene)
    return bounded(Background.of(others.values), scene, sum(taken < when for taken in others.dates))


def bounded(background: Background, scene: Image, before: int) -> Background:
    """At most MOST_DAYS of the days of a background, the last of them patterns that sum up those left out.

    All are kept if there are no more than that. Else: the NEAREST days on both sides, the SIMILAR ones that correlate
    most with the visible part of the scene and show most of it and of its gap, and the first PATTERNS empirical
    orthogonal functions of the rest (randomized SVD, Halko, Martinsson and Tropp 2011, SIAM Rev. 53, 217), scaled to
    the spread of anomalies.

    Args:
        background: the other days in the order of time.
        scene: (height, width), NaN in the gaps.
        before: how many of the days lie before the scene's.
    """
    days = len(background.anomalies)
    if days <= MOST_DAYS:
        return background
    start = min(max(before - NEAREST, 0), days - 2 * NEAREST)
    nearest = np.arange(start, start + 2 * NEAREST)
    anomalies = background.anomalies.reshape(days, -1)
    likeness = _likeness(anomalies, (scene - background.level).ravel())
    likeness[nearest] = -np.inf
    similar = np.argsort(-likeness, kind="stable")[:SIMILAR]
    kept = np.sort(np.concatenate([nearest, similar]))
    rest = np.setdiff1d(np.arange(days), kept)
    patterns = _patterns(np.nan_to_num(anomalies[rest]), min(PATTERNS, len(rest)))
    return Background(
        background.level,
        np.concatenate([background.offsets[kept], np.zeros(len(patterns), np.float32)]),
        np.concatenate([background.anomalies[kept], patterns.reshape(-1, *scene.shape)]),
    )


def _likeness(anomalies: NDArray[np.float32], departure: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much each day (days, pixels) tells of a scene (pixels): |correlation| on what both show, less for clouds."""
    seen, visible = (~np.isnan(anomalies)).astype(np.float32), ~np.isnan(departure)
    theirs, ours = np.nan_to_num(anomalies), np.nan_to_num(departure - np.nanmean(departure))
    shown = visible.astype(np.float32)
    with threadpool_limits(1):
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
    """The first empirical orthogonal functions (number, pixels) of anomalies (days, pixels), 0 in the gaps."""
    from sklearn.utils.extmath import randomized_svd

    with threadpool_limits(1):
        maps = randomized_svd(anomalies, number, random_state=0)[2]
    return np.asarray(maps * anomalies.std() * np.sqrt(anomalies.shape[1]), np.float32)
