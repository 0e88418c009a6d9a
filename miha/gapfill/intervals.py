"""How far from a fill the truth may lie: intervals, in standard deviations each way."""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

SHARES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)  # percent of errors that an interval should hold
INTERVALS = (50, 80, 95)  # of these, what is told
FEWEST = 200  # errors that tell the shape of their distribution

Intervals = Mapping[int, float]  # of SHARES: half the width of the interval, standard deviations

NORMAL: Intervals = {share: NormalDist().inv_cdf(0.5 + share / 200) for share in SHARES}


def intervals_of(errors: ArrayLike) -> Intervals:
    """Intervals by quantiles of errors over their standard deviations, whatever these are by themselves.

    Errors of pixels that others predict have longer tails than a normal distribution: where most lie nearer than it
    says, some lie farther. As in split conformal prediction (Papadopoulos et al. 2002, ECML, LNAI 2430, 345-356) the
    quantiles of errors whose truth is known serve for those whose truth is not; their size is left to the standard
    deviation. Of fewer than FEWEST errors, or where all are 0, they are those of a normal distribution.

    Args:
        errors: (n,), of either sign, of visible pixels that were predicted from others.
    """
    sizes = np.abs(np.asarray(errors, np.float64))
    typical = float(np.sqrt((sizes**2).mean())) if len(sizes) >= FEWEST else 0.0
    if not typical > 0:
        return NORMAL
    return {share: float(np.quantile(sizes, share / 100)) / typical for share in SHARES}
