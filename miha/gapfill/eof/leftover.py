"""What patterns leave: what of it to expect in the gaps of a day, from the days around it and the pixels around."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from miha.gapfill.eof.spread import Cells, Spread, spread_out
from miha.rasters.stack import Image

FADINGS = (0.5, 1.0, 2.0, 4.0)  # usual steps between days after which a day counts 1/e as much, to choose from,
PULLS = (0.5, 2.0, 8.0, np.inf)  # what expecting nothing counts as, beside them; infinite: other days tell nothing,
TRUSTS = (0.1, 0.3, 1.0, 3.0)  # and factors of what coarser scales count as
LEAST = 0.05  # weight of a day that is looked at
MOST = 3  # days on each side that are looked at
COVERED = 0.8  # share of errors that a normal distribution of the deviations has to hold


@dataclass(frozen=True)
class Leftover:
    """How much days and pixels tell of each other.

    Attributes:
        fading: days after which a day counts 1/e as much.
        pull: what expecting nothing counts as, beside days.
        trust: factor of what coarser scales count as.
        errors: (FEATURES,), how a pixel's deviation grows with what is unknown of it.
    """

    fading: float
    pull: float
    trust: float
    errors: NDArray[np.float64]

    def neighbours(self, day: int, days: NDArray[np.int64], ahead: bool) -> list[tuple[int, float]]:
        """Indices of the sorted days that tell of a day, and their weights."""
        if not np.isfinite(self.pull):
            return []
        before, after = np.flatnonzero(days < day)[-MOST:], np.flatnonzero(days > day)[:MOST]
        near = np.concatenate([before, after]) if ahead else before
        weights = np.exp(-np.abs(days[near] - day) / self.fading)
        return [(int(at), float(weight)) for at, weight in zip(near, weights, strict=True) if weight >= LEAST]

    def around(self, others: Iterable[tuple[Image, float]], shape: tuple[int, ...]) -> tuple[Image, Image]:
        """What days around leave one to expect of a window, and the share of it that they do not tell.

        Args:
            others: what is left of each (NaN in its gaps), and its weight.
            shape: of the window.
        """
        total, weights = np.zeros((2, *shape), np.float32)
        for left, weight in others:
            seen = ~np.isnan(left)
            np.add(total, np.float32(weight) * left, out=total, where=seen)
            np.add(weights, np.float32(weight), out=weights, where=seen)
        if not np.isfinite(self.pull):
            return total, np.ones_like(weights)
        unknown = np.float32(self.pull) / (weights + np.float32(self.pull))
        return total * unknown / np.float32(self.pull), unknown

    def deviation(self, noise: NDArray[np.float32], spread: Spread, unexplained: NDArray[np.float32]) -> Image:
        """Standard deviation of what is expected: of maps, or of pixels.

        Args:
            noise: root mean square of what is left of a pixel's days.
            spread: what the pixels around say.
            unexplained: the share of it that the days around did not explain.
        """
        found = np.zeros_like(noise)
        for feature, weight in zip(_features(spread.unknown, unexplained), self.errors, strict=True):
            if weight:
                found += np.float32(weight) * feature
        return found * noise


FEATURES = 5


def _features(unknown: NDArray[np.float32], unexplained: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
    near = np.sqrt(np.sqrt(np.sqrt(unknown)))  # 0.2 beside a visible pixel, 1 far from all
    yield np.ones_like(unknown)
    yield near
    yield near**2
    yield unexplained
    yield unexplained * near


UNLEARNED = np.array([0.5, 0.4, 0.1, 0, 0])


@dataclass(frozen=True)
class Practice:
    """A window of the days with pasted gaps, and of those around them.

    Attributes:
        left: (days, height, width), what patterns leave where it is visible; NaN in all gaps.
        hidden: the same inside the pasted gaps alone; NaN elsewhere.
        noise: (height, width), root mean square of ``left`` of each pixel.
        days: numbers of the days.
        ahead: whether a day knows those after it.
    """

    left: NDArray[np.float32]
    hidden: NDArray[np.float32]
    noise: Image
    days: NDArray[np.int64]
    ahead: bool

    @property
    def pasted(self) -> NDArray[np.int64]:
        """Indices of days with a pasted gap."""
        return np.flatnonzero(~np.isnan(self.hidden).all(axis=(1, 2)))

    def expected(self, leftover: Leftover, at: int) -> tuple[Spread, Image]:
        """What is expected to be left of a day, and the share that days did not tell."""
        shape, whole = self.left.shape[1:], (slice(0, self.left.shape[1]), slice(0, self.left.shape[2]))
        near = leftover.neighbours(int(self.days[at]), self.days, self.ahead)
        explained, unexplained = leftover.around(((self.left[other], weight) for other, weight in near), shape)
        cells = Cells((shape[0], shape[1]))
        rest = self.left[at] - explained
        cells.add(whole, rest)
        spread = spread_out(rest, whole, cells.spread(leftover.trust), leftover.trust)
        return Spread(explained + spread.mean, spread.unknown), unexplained

    def error(self, leftover: Leftover) -> tuple[float, int]:
        """Sum of absolute errors in the pasted gaps, and of how many pixels."""
        gaps = [self.hidden[at] - self.expected(leftover, at)[0].mean for at in self.pasted]
        return sum(float(np.nansum(np.abs(gap))) for gap in gaps), sum(int((~np.isnan(gap)).sum()) for gap in gaps)


def learn_leftover(practice: Sequence[Practice], step: float) -> Leftover:
    """Choose what does best in pasted gaps, and fit deviations to the errors there.

    Args:
        practice: windows; with none the usual values are taken.
        step: usual step between days.
    """
    best = Leftover(step, PULLS[0], 1.0, UNLEARNED)
    practice = [one for one in practice if len(one.pasted)]
    if not practice:
        return best
    options = [Leftover(step * fading, pull, 1.0, UNLEARNED) for pull in PULLS[:-1] for fading in FADINGS]
    best = _best([Leftover(step, np.inf, 1.0, UNLEARNED), *options], practice)
    best = _best([Leftover(best.fading, best.pull, trust, UNLEARNED) for trust in TRUSTS], practice)
    return Leftover(best.fading, best.pull, best.trust, _errors(best, practice))


def _best(options: Sequence[Leftover], practice: Sequence[Practice]) -> Leftover:
    def error(leftover: Leftover) -> float:
        sums = np.sum([one.error(leftover) for one in practice], axis=0)
        return float(sums[0] / sums[1])

    return min(options, key=error)


def _errors(leftover: Leftover, practice: Sequence[Practice]) -> NDArray[np.float64]:
    """Weights of the features of deviations: least squares without negative ones, then set to the errors covered."""
    features, errors = [], []
    for one in practice:
        for at in one.pasted:
            spread, unexplained = one.expected(leftover, at)
            gap = ~np.isnan(one.hidden[at])
            noise = one.noise[gap]
            features.append(
                np.stack([part * noise for part in _features(spread.unknown[gap], unexplained[gap])], axis=1)
            )
            errors.append(np.abs(one.hidden[at] - spread.mean)[gap])
    design, target = np.concatenate(features).astype(np.float64), np.concatenate(errors).astype(np.float64)
    weights = scipy.optimize.nnls(design.T @ design, design.T @ target)[0]
    off = target / np.maximum(design @ weights, 1e-12)
    covered = float(np.quantile(off, COVERED) / scipy.stats.norm.ppf(0.5 + COVERED / 2))
    return np.asarray(weights * covered + 1e-6 * UNLEARNED)
