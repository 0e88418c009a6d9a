"""Scores of patterns in time: what each day shows of them, and what the days around it let one expect."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST_PERSISTENT = 0.98  # correlation from one day to the next, at most


@dataclass(frozen=True)
class Prior:
    """Each score is a stationary process around 0 that forgets exponentially (first-order autoregressive).

    Attributes:
        variance: (scores,).
        persistence: (scores,), correlation from one day to the next.
    """

    variance: Array
    persistence: Array


@dataclass(frozen=True)
class Scores:
    """Of each day the expected scores, their covariance, and their covariance with those of the day before.

    Attributes:
        mean: (days, scores).
        covariance: (days, scores, scores).
        lagged: (days, scores, scores); 0 for the first day.
    """

    mean: Array
    covariance: Array
    lagged: Array


def smooth_scores(precision: Array, weighted: Array, days: Array, prior: Prior, ahead: bool = True) -> Scores:
    """Kalman's filter forwards, and unless days after a day are unknown Rauch, Tung and Striebel's smoother backwards.

    Särkkä 2013, Bayesian Filtering and Smoothing, sections 4.3 and 8.2; the filter in the form for information.

    Args:
        precision: (days, scores, scores), what the pixels of a day tell: 0 where it shows nothing.
        weighted: (days, scores), that precision times the scores which fit the day best.
        days: (days,), sorted numbers of days.
        prior: what is expected of scores.
        ahead: whether a day knows those after it.
    """
    count, size = weighted.shape
    expected, mean = np.zeros((2, count, size))
    predicted, covariance, lagged = np.zeros((3, count, size, size))
    stationary, unit = np.diag(prior.variance), np.eye(size)
    steps = np.diff(days, prepend=days[:1])
    for day in range(count):
        predicted[day] = stationary
        if day:
            fading = prior.persistence ** steps[day]
            expected[day] = fading * mean[day - 1]
            predicted[day] = np.outer(fading, fading) * covariance[day - 1] + stationary * (1 - fading**2)
        after = np.linalg.solve(unit + predicted[day] @ precision[day], predicted[day])
        covariance[day] = (after + after.T) / 2
        mean[day] = expected[day] + covariance[day] @ (weighted[day] - precision[day] @ expected[day])
    for day in range(count - 2, -1, -1) if ahead else ():
        fading = prior.persistence ** steps[day + 1]
        gain = np.linalg.solve(predicted[day + 1] + 1e-9 * stationary, fading[:, None] * covariance[day]).T
        mean[day] += gain @ (mean[day + 1] - expected[day + 1])
        covariance[day] += gain @ (covariance[day + 1] - predicted[day + 1]) @ gain.T
        lagged[day + 1] = covariance[day + 1] @ gain.T
    return Scores(mean, covariance, lagged)
