"""Empirical orthogonal functions of days with gaps, by variational expectation maximisation.

A value is ``loadings[pixel] · design[day]`` and noise. The design of a day holds 1, harmonics of the year, and scores:
of the day's offset, and of patterns. Gaps are left out of every sum, priors keep what few observations tell small, and
patterns that do not pay fade by themselves (Ilin and Raiko 2010, J. Mach. Learn. Res. 11, 1957-2000). What is new is
that scores persist from day to day.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.eof.scores import MOST_PERSISTENT, Array, Prior, Scores, smooth_scores

PATTERNS = 12  # at most, and
DAYS_A_PATTERN = 4  # at least so many days for each
YEAR = 365.25  # days; harmonics are fitted to stacks that are at least so long
HARMONICS = 2
ROUNDS = 15
COUNTS = 0.01  # what a visible pixel counts in scores: pixels side by side tell nearly the same
MOST_COUNTED = 400  # pixels that the visible ones of a day count as together
CHUNK = 20_000  # pixels whose normal equations are solved together


def harmonics(days: NDArray[np.int64], number: int) -> Array:
    """1, and cosine and sine of the year and its parts, (days, 1 + 2 · number)."""
    turns = 2 * np.pi * days[:, None] / YEAR * np.arange(1, number + 1)
    return np.concatenate([np.ones((len(days), 1)), np.cos(turns), np.sin(turns)], axis=1)


@dataclass(frozen=True)
class Factors:
    """What is known of a stack once its factors are fitted.

    Attributes:
        days: numbers of the days that it was fitted to.
        number: of harmonics.
        centre: subtracted from all values.
        design: (days, terms).
        scatter: (days, scores, scores), covariance of the scores, the last terms of the design.
        expected: (terms,), prior mean of loadings.
        spread: (terms,), their prior variance.
        noise: variance of what is left.
        prior: of the scores.
    """

    days: NDArray[np.int64]
    number: int
    centre: float
    design: Array
    scatter: Array
    expected: Array
    spread: Array
    noise: float
    prior: Prior

    @property
    def fixed(self) -> int:
        """How many terms of the design are known beforehand."""
        return 1 + 2 * self.number

    def loadings(self, values: NDArray[np.float32], design: Array) -> NDArray[np.float32]:
        """Fit pixels, (terms, pixels), to the days that they show; at most CHUNK at once.

        Args:
            values: (days, pixels), NaN in the gaps.
            design: (days, terms), the own one or another of the same days.
        """
        left, right = self._equations(values, *self._moments(design))
        return np.asarray(np.linalg.solve(left, right[..., None])[..., 0].T, np.float32)

    def _moments(self, design: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Design, and expected products of its terms, (days, terms · terms)."""
        products = design[:, :, None] * design[:, None]
        products[:, self.fixed :, self.fixed :] += self.scatter
        return design.astype(np.float32), products.reshape(len(design), -1).astype(np.float32)

    def _equations(
        self, values: NDArray[np.float32], design: NDArray[np.float32], products: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Normal equations of pixels: (pixels, terms, terms) and (pixels, terms)."""
        seen = ~np.isnan(values)
        left = (seen.T.astype(np.float32) @ products).reshape(-1, len(self.expected), len(self.expected))
        left += np.diag(self.noise / self.spread).astype(np.float32)
        right = np.where(seen, values - np.float32(self.centre), 0).T @ design
        return left, right + (self.expected * self.noise / self.spread).astype(np.float32)

    def _fit(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Loadings of pixels, (pixels, terms), and their covariance, (pixels, terms, terms)."""
        left, right = self._equations(values, *self._moments(self.design))
        inverse = np.linalg.inv(left)
        found = np.asarray((inverse @ right[..., None])[..., 0], np.float32)
        return found, np.asarray(inverse * np.float32(self.noise), np.float32)

    def scores(self, values: NDArray[np.float32], days: NDArray[np.int64], ahead: bool) -> Array:
        """The design (days, terms) of days, by what they show of the sample.

        Args:
            values: (days, pixels), NaN in the gaps.
            days: their numbers, sorted.
            ahead: whether a day knows those after it.
        """
        fitted = self._fit(values[np.searchsorted(days, self.days)])
        known = harmonics(days, self.number)
        found = _scores(values - np.float32(self.centre), *fitted, known, days, self.noise, self.prior, ahead)
        return np.concatenate([known, found.mean], axis=1)


def fit_factors(values: NDArray[np.float32], days: NDArray[np.int64], rounds: int = ROUNDS) -> Factors:
    """Fit the factors of a sample of pixels.

    Args:
        values: (days, pixels), NaN in the gaps; at least one pixel is seen.
        days: numbers of the days, sorted.
        rounds: of expectation maximisation.
    """
    number = HARMONICS if days[-1] - days[0] >= YEAR else 0
    known = harmonics(days, number)
    fixed, size = known.shape[1], 1 + min(PATTERNS, len(days) // DAYS_A_PATTERN)
    seen, centre = ~np.isnan(values), float(np.nanmean(values))
    departures = np.where(seen, values - np.float32(centre), 0)
    offsets, left_over = _offsets(departures, seen, known)
    total = float(departures[seen].var()) + 1e-12
    noise = 0.3 * float(left_over[seen].var()) + 1e-6 * total
    design = np.concatenate([known, offsets[:, None], _leading(left_over, size - 1)], axis=1)
    first = offsets.var() if len(days) > 2 else total
    prior = Prior(np.array([first + 1e-9 * total, *np.ones(size - 1)]), np.full(size, 0.5))
    expected, spread = np.zeros(fixed + size), np.full(fixed + size, total)
    expected[fixed], spread[fixed] = 1, 0.1
    factors = Factors(days, number, centre, design, np.zeros((len(days), size, size)), expected, spread, noise, prior)
    for _ in range(rounds):
        factors = _improve(factors, values, seen, total)
    return factors


def _improve(factors: Factors, values: NDArray[np.float32], seen: NDArray[np.bool_], total: float) -> Factors:
    """One round: loadings, what is expected of them, scores, what is expected of these, and noise."""
    fixed, days = factors.fixed, factors.days
    found, sureness = factors._fit(values)
    loadings = found.astype(np.float64)
    expected = factors.expected.copy()
    expected[1:fixed] = loadings[:, 1:fixed].mean(axis=0)
    own = np.einsum("pii->i", sureness, dtype=np.float64) / len(loadings)
    spread = ((loadings - expected) ** 2).mean(axis=0) + own + 1e-9 * total
    known = factors.design[:, :fixed]
    departures = values - np.float32(factors.centre)
    scores = _scores(departures, found, sureness, known, days, factors.noise, factors.prior, True)
    squares = scores.mean**2 + np.einsum("dkk->dk", scores.covariance)
    variance, persistence = factors.prior.variance, factors.prior.persistence
    if len(days) > 2:
        products = scores.mean[1:] * scores.mean[:-1] + np.einsum("dkk->dk", scores.lagged[1:])
        variance = squares.mean(axis=0) + 1e-12 * total
        lag = max(float(np.median(np.diff(days))), 1.0)
        persistence = np.clip(products.mean(axis=0) / variance, 0, MOST_PERSISTENT) ** (1 / lag)
    scale = np.sqrt(variance)
    scale[0] = 1  # of the offset, whose loadings lie around 1; those of a pattern take its scale
    design = np.concatenate([known, scores.mean / scale], axis=1)
    scatter = scores.covariance / np.outer(scale, scale)
    spread[fixed:] *= scale**2
    left_over = np.where(seen, departures - (known @ loadings[:, :fixed].T + scores.mean @ loadings[:, fixed:].T), 0)
    noise = (
        float((left_over**2).sum(dtype=np.float64)) + _unsure(seen, loadings, sureness, scores, known)
    ) / seen.sum()
    return Factors(
        days,
        factors.number,
        factors.centre,
        design,
        scatter,
        expected,
        spread,
        max(noise, 1e-9 * total),
        Prior(variance / scale**2, persistence),
    )


def _scores(
    departures: NDArray[np.float32],
    loadings: NDArray[np.float32],
    sureness: NDArray[np.float32],
    known: Array,
    days: NDArray[np.int64],
    noise: float,
    prior: Prior,
    ahead: bool,
) -> Scores:
    """Scores of days by the departures (days, pixels) that they show."""
    seen = ~np.isnan(departures)
    fixed = known.shape[1]
    products = loadings[:, :, None] * loadings[:, None] + sureness
    shown = seen.astype(np.float32)
    size = loadings.shape[1] - fixed
    counts = min(COUNTS, MOST_COUNTED / seen.shape[1]) / noise
    precision = (shown @ products[:, fixed:, fixed:].reshape(len(products), -1)).reshape(-1, size, size)
    both = (shown @ products[:, fixed:, :fixed].reshape(len(products), -1)).reshape(-1, size, fixed)
    weighted = np.where(seen, departures, 0) @ loadings[:, fixed:] - np.einsum("dkf,df->dk", both, known)
    return smooth_scores(
        counts * precision.astype(np.float64), counts * weighted.astype(np.float64), days.astype(float), prior, ahead
    )


def _unsure(
    seen: NDArray[np.bool_], loadings: Array, sureness: NDArray[np.float32], scores: Scores, known: Array
) -> float:
    """Sum of squares that loadings and scores may be off by, over what is seen."""
    shown, fixed = seen.astype(np.float32), known.shape[1]
    design = np.concatenate([known, scores.mean], axis=1)
    products = design[:, :, None] * design[:, None]
    products[:, fixed:, fixed:] += scores.covariance
    of_loadings = (shown @ sureness.reshape(len(sureness), -1)) * products.reshape(len(design), -1)
    squares = (loadings[:, fixed:, None] * loadings[:, None, fixed:]).reshape(len(loadings), -1).astype(np.float32)
    of_scores = (shown @ squares) * scores.covariance.reshape(len(design), -1)
    return float(of_loadings.sum() + of_scores.sum())


def _offsets(
    departures: NDArray[np.float32], seen: NDArray[np.bool_], known: Array
) -> tuple[Array, NDArray[np.float32]]:
    """Mean departure of each day (days,) from the level of its pixels and the season, and what is left; 0 in gaps."""
    a_pixel, a_day = np.maximum(seen.sum(axis=0), 1), np.maximum(seen.sum(axis=1), 1)
    offsets = departures.sum(axis=1, dtype=np.float64) / a_day
    level = np.zeros(departures.shape[1])
    for _ in range(5):
        level = (departures.sum(axis=0, dtype=np.float64) - offsets @ seen) / a_pixel
        offsets = (departures.sum(axis=1, dtype=np.float64) - seen @ level) / a_day
    left_over = np.where(seen, departures - level - offsets[:, None], 0).astype(np.float32)
    season = known @ np.linalg.lstsq(known, offsets, rcond=None)[0]
    return offsets - season, left_over


def _leading(left_over: NDArray[np.float32], number: int) -> Array:
    """The first principal components in time, (days, number), of unit variance."""
    courses = np.linalg.eigh((left_over @ left_over.T).astype(np.float64))[1][:, ::-1][:, :number]
    return np.asarray(courses * len(left_over) ** 0.5, np.float64)
