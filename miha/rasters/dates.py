"""The day a scene was taken, from the name of its file or from its tags."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

from miha.errors import DataError

FORMS = "YYYYMMDD, YYYY-MM-DD, YYYYDDD, with or without a time"
_GAP_SIZE = re.compile(r"_gap\d+$")  # behind the name of a scene whose day has more than one
_YEARS = range(1900, 2200)  # numbers of tiles and orbits seldom begin with one of these
_SEPARATED = r"(?<!\d)(\d{4})([-_.])(\d\d)\2(\d\d)(?!\d)"
_DIGITS = r"(?<!\d)\d+"
_PLACES = re.compile(f"{_SEPARATED}|{_DIGITS}")
_MARKED = re.compile(r"(?<![A-Za-z])(?:A|doy)(\d+)")  # NASA's archives mark the day of acquisition so
_BY_MONTH = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # number of digits → form
_BY_DAY = {7: "%Y%j", 11: "%Y%j%H%M", 13: "%Y%j%H%M%S"}


def read_date(path: Path, pattern: str | None = None) -> date:
    """The day a scene was taken: ``pattern`` if it fits, else from the name, else the TIFF's DateTime tag.

    In a name the first of these counts, since what was processed or ends later stands behind: a day of the year marked
    as that of acquisition (A2021121, doy2021121); a date by month (20210501, 2021-05-01, 2021_05_01, 20210501T103021);
    a day of the year without a mark (2021121). Years are 1900 to 2199.

    Args:
        path: the file; it is opened only if its name has no date.
        pattern: of ``strptime``, for any part of the name; the leftmost that fits counts.

    Raises:
        DataError: none of them gives a date, or the pattern cannot.
    """
    name = _GAP_SIZE.sub("", path.stem)
    if pattern:
        if mistake := pattern_mistake(pattern):
            raise DataError(f"the date pattern {mistake}.")
        if taken := _found(name, pattern):
            return taken
    for taken in _dates_in(name):
        return taken
    try:
        with rasterio.open(path) as source:
            return datetime.strptime(source.tags().get("TIFFTAG_DATETIME", ""), "%Y:%m:%d %H:%M:%S").date()
    except (RasterioError, ValueError):
        tried = f"pattern {pattern!r}, " if pattern else ""
        raise DataError(
            f"the date of {path} cannot be read ({tried}{FORMS} in the name, and the TIFF's DateTime tag were tried). "
            "Rename the file or set problem.date_pattern (--date-pattern)."
        ) from None


def pattern_mistake(pattern: str) -> str | None:
    """Why no date can be read with a ``strptime`` pattern, or None if one can."""
    example = datetime(2003, 12, 29)
    try:
        if datetime.strptime(example.strftime(pattern), pattern).date() == example.date():
            return None
    except re.error:  # what strptime raises where a directive is there twice
        return f"{pattern!r} has one directive twice"
    except ValueError as error:
        return f"{pattern!r} cannot be used: {error}"
    return f"{pattern!r} does not tell year, month and day, as %Y%m%d or %Y%j do"


def _found(name: str, pattern: str) -> date | None:
    """The leftmost part of a name that a pattern reads."""
    for start in range(len(name)):
        try:
            return datetime.strptime(name[start:], pattern).date()
        except ValueError as error:
            _, behind, rest = str(error).partition("unconverted data remains: ")
            if behind and (taken := _parsed(name[start:].removesuffix(rest), pattern)):
                return taken
    return None


def _dates_in(name: str) -> Iterator[date]:
    """Days that a name tells, those first that mean acquisition."""
    marked = [_parsed(digits, _BY_DAY.get(len(digits))) for digits in _MARKED.findall(name)]
    places = list(_PLACES.finditer(name))
    by_month = [
        _parsed(place[1] + place[3] + place[4], "%Y%m%d")
        if place[1]
        else _parsed(place[0], _BY_MONTH.get(len(place[0])))
        for place in places
    ]
    by_day = [_parsed(place[0], _BY_DAY.get(len(place[0]))) for place in places]
    yield from (taken for taken in (*marked, *by_month, *by_day) if taken and taken.year in _YEARS)


def _parsed(text: str, form: str | None) -> date | None:
    try:
        return datetime.strptime(text, form).date() if form else None
    except ValueError:
        return None
