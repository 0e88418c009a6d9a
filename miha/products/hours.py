"""Times of day that keep scenes of one day apart, such as passes by day and by night."""

from dataclasses import dataclass
from datetime import time

from miha.errors import ConfigError


@dataclass(frozen=True)
class Hours:
    """Times of day from ``first`` to before ``last``, over midnight if that is earlier; UTC, as names of files tell."""

    first: time
    last: time

    def hold(self, at: time) -> bool:
        """True of a time among them."""
        if self.first < self.last:
            return self.first <= at < self.last
        return at >= self.first or at < self.last

    def __str__(self) -> str:
        return f"{self.first:%H:%M}/{self.last:%H:%M}"


def read_hours(given: str | None) -> Hours | None:
    """``FIRST/LAST`` as typed, e.g. 09:00/13:00; None: any.

    Raises:
        ConfigError: not two different times.
    """
    if given is None:
        return None
    try:
        first, last = map(time.fromisoformat, given.split("/"))
    except ValueError:
        first = last = time()
    if first == last or first.tzinfo or last.tzinfo:
        raise ConfigError(f"--hours {given}: give two times of day (UTC), as in 09:00/13:00.")
    return Hours(first, last)
