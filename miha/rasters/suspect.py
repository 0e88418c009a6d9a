"""What in scenes cannot be an observation: codes that nobody declared, and days in another unit than the others.

Rules for few false alarms: frost, snow and night pass. What they miss does little harm, or shows at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miha.errors import DataError

MAX_CODES = 3  # in one scene
MIN_CODED = 16  # pixels: fewer of one number may be chance
MIN_VALUES = 8  # distinct values beside the codes: fewer are classes, not measurements
ISOLATED = 3  # so many times the range of all other values a code lies beside it
FAR = 15  # so many times the spread within days a day lies beside the others
TIMES = 3  # and its magnitude is so many times greater or less: so no kelvin is far from another
ABSURD = 1e30  # no quantity is greater in any unit, and its square is none in float32
MIN_SEEN = 32  # pixels of a day that tells where values lie


def undeclared_codes(values: NDArray[np.float32]) -> dict[float, int]:
    """Numbers that look like codes of missing pixels, with how many pixels have them.

    They are at most MAX_CODES at the ends of what occurs, each in at least MIN_CODED pixels, and farther from all
    other values than ISOLATED times their range. One beyond ABSURD is a code in any case.

    Args:
        values: of any shape; NaN is passed over.
    """
    found, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    if (absurd := np.abs(found) > ABSURD).any():
        most = int(np.argmax(counts * absurd))
        return {float(found[most]): int(counts[most])}
    for number in range(1, MAX_CODES + 1):
        for below in range(number + 1):
            first, last = below, len(found) - (number - below)  # of the others, and behind them
            if last - first < MIN_VALUES:
                return {}
            low, high = found[[first, last - 1]].astype(np.float64)
            ends = np.r_[:first, last : len(found)]
            beside = np.maximum(low - found[ends], found[ends] - high)
            if (beside > ISOLATED * (high - low)).all() and (counts[ends] >= MIN_CODED).all():
                return {float(found[end]): int(counts[end]) for end in ends}
    return {}


@dataclass(frozen=True)
class Level:
    """Where the values of a day lie, or of a group of days, in the data's unit.

    Attributes:
        middle: their median.
        spread: from their 5th to their 95th percentile.
        scaled: how many files have a scale or an offset.
    """

    middle: float
    spread: float
    scaled: int = 0

    @classmethod
    def of(cls, values: NDArray[np.float32], scaled: bool = False) -> "Level | None":
        """The level of a day (height, width); None if it shows fewer than MIN_SEEN pixels."""
        seen = values[~np.isnan(values)]
        if len(seen) < MIN_SEEN:
            return None
        low, middle, high = np.percentile(seen, [5, 50, 95])
        return cls(float(middle), float(high - low), int(scaled))

    @classmethod
    def of_group(cls, days: Sequence["Level"]) -> "Level":
        """The level of several days: the usual spread within one, or more where they vary much from day to day."""
        middles = [day.middle for day in days]
        spread = float(np.median([day.spread for day in days]))
        total = max(middles) - min(middles) + spread
        return cls(float(np.median(middles)), max(spread, ISOLATED / FAR * total), sum(day.scaled for day in days))

    def differs(self, other: "Level", spread: float) -> bool:
        """True if both cannot be of one unit: FAR times a ``spread`` apart, and TIMES greater or less."""
        small, large = sorted((abs(self.middle), abs(other.middle)))
        return 0 < FAR * spread < abs(self.middle - other.middle) and large >= TIMES * small

    def is_far(self, common: "Level") -> bool:
        """True if this day lies far from where most days lie, as it does where a scale or an offset was lost."""
        return self.differs(common, common.spread)


def common_level(days: Sequence[Level]) -> Level:
    """Where most days lie: the level of the largest group of them.

    Days in the order of their middles are of one group as long as no step is far. Of equal groups the one with more
    scale tags counts, since a tag is lost more easily than won.

    Args:
        days: at least one.

    Raises:
        DataError: two groups in different units are equal in all this.
    """
    groups: list[list[Level]] = []
    telling = [day for day in days if day.spread > 0] or days  # a day of one value has no unit
    for day in sorted(telling, key=lambda day: day.middle):
        last = groups[-1][-1] if groups else None
        if last is None or day.differs(last, min(day.spread, last.spread)):
            groups.append([])
        groups[-1].append(day)
    ranked = sorted(groups, key=lambda group: (len(group), sum(day.scaled for day in group)), reverse=True)
    first, *others = [Level.of_group(group) for group in ranked]
    for other, group in zip(others, ranked[1:], strict=True):
        equal = len(group) == len(ranked[0]) and other.scaled == first.scaled
        if equal and first.is_far(other) and other.is_far(first):
            raise DataError(
                f"half of the days have values around {first.middle:g}, half around {other.middle:g}: their units "
                "differ. Repair scale and offset of the wrong ones (gdal_edit.py -scale -offset), or remove them."
            )
    return first
