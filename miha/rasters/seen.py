"""Since which day each pixel of a stack has been seen."""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miha.rasters.window import Mask


class FirstSeen:
    """The first day that shows each pixel of a stack, found window by window.

    A window is read once, from the first day to the one by which all its pixels were seen, and is then remembered, as
    the windows in which the days of a series are written are the same.

    Args:
        days: (days, height, width), NaN in the gaps; an array, or :class:`miha.rasters.opened.OpenDays`.
    """

    def __init__(self, days: Any) -> None:
        self.days, self._windows = days, dict[tuple[int, ...], bytes]()

    def unseen(self, where: tuple[slice, slice], until: int) -> Mask:
        """Where in a window none of the first ``until`` days shows anything."""
        shape = where[0].stop - where[0].start, where[1].stop - where[1].start
        key = where[0].start, where[0].stop, where[1].start, where[1].stop
        if key not in self._windows:
            self._windows[key] = zlib.compress(self._first(where, shape).tobytes(), 1)
        first = np.frombuffer(zlib.decompress(self._windows[key]), np.int32).reshape(shape)
        return np.asarray(first >= until)

    def _first(self, where: tuple[slice, slice], shape: tuple[int, int]) -> NDArray[np.int32]:
        """Number of the first day that shows a pixel, or of days where none does."""
        first = np.full(shape, len(self.days), np.int32)
        for day in range(len(self.days)):
            unknown = first == len(self.days)
            if not unknown.any():
                break
            first[unknown & ~np.isnan(self.days[[day], *where][0])] = day
        return first
