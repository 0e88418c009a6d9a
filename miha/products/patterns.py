"""Patterns of file names: which files are scenes, of which day, and which files go with them."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import cached_property

_PARTS = re.compile(r"\{(?P<field>\w+)(?::(?P<form>[^{}]*))?\}|\*\*/|\*|\?|\[[^\]]+\]")
_DIGITS = {"Y": 4, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2, "y": 2}  # how long each directive of strptime is
DATE = "date"


class Pattern:
    """A path whose parts may vary, matched against the end of the paths of a download, ignoring upper and lower case.

    ``*`` stands for anything within a name, ``?`` for one letter, ``[0-3]`` for one of a set, ``**/`` for any folders;
    ``{field}`` for anything that a second pattern takes up, ``{date:%Y%j}`` for the day, in a form of strptime. What is
    named twice is the same both times.
    """

    def __init__(self, text: str, fields: Mapping[str, str] | None = None, when: date | None = None) -> None:
        """Compile a pattern.

        Args:
            text: as above.
            fields: what fields are known to hold; others may hold anything.
            when: the day, if it is known.

        Raises:
            ValueError: a directive that is none, or that stands for no fixed number of digits; no such set of letters.
        """
        self.text, self._fields, self._when, self._groups = text, fields or {}, when, set[str]()
        written, end = "", 0
        for part in _PARTS.finditer(text):
            written += re.escape(text[end : part.start()]) + self._of(part)
            end = part.end()
        try:
            self._expression = re.compile("(?:.*/)?" + written + re.escape(text[end:]), re.IGNORECASE)
        except re.error as error:
            raise ValueError(f"{text!r} cannot be read: {error}") from error

    def _of(self, part: re.Match[str]) -> str:
        field, form = part["field"], part["form"]
        if field is None:
            wild = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
            return wild.get(part[0], part[0].replace("[!", "[^"))
        if field == DATE:
            if not form:
                raise ValueError(f"{{date}} in {self.text!r} needs a form, as in {{date:%Y%j}}")
            return re.escape(f"{self._when:{form}}") if self._when else self._of_date(form)
        if form is not None:
            raise ValueError(f"{part[0]} in {self.text!r} has a form, which only date may have")
        if field in self._fields:
            return re.escape(self._fields[field])
        return self._group(field, "[^/]+?")

    def _group(self, name: str, content: str) -> str:
        """A group; where it is there already, what that one holds."""
        if name in self._groups:
            return f"(?P={name})"
        self._groups.add(name)
        return f"(?P<{name}>{content})"

    def _of_date(self, form: str) -> str:
        written, end = "", 0
        for directive in re.finditer("%(.)", form):
            digits = _DIGITS.get(directive[1])
            if digits is None:
                known = ", ".join(f"%{letter}" for letter in _DIGITS)
                raise ValueError(f"{directive[0]} in {self.text!r} cannot be read; known are {known}")
            group = self._group(f"{DATE}_{directive[1]}", rf"\d{{{digits}}}")
            written += re.escape(form[end : directive.start()]) + group
            end = directive.end()
        return written + re.escape(form[end:])

    @cached_property
    def _directives(self) -> list[str]:
        return [letter for letter in _DIGITS if f"{DATE}_{letter}" in self._groups]

    @cached_property
    def dates(self) -> bool:
        """True if it tells year, month and day."""
        told = {*self._directives}
        return bool(told & {"Y", "y"}) and ("j" in told or {"m", "d"} <= told)

    def match(self, path: str) -> tuple[dict[str, str], date | None] | None:
        """Fields of a path and its day, or day and time if the pattern has hours; or None if it does not fit.

        The day is None where the pattern does not tell it.
        """
        found = self._expression.fullmatch(path)
        if not found:
            return None
        fields = found.groupdict()
        digits = {f"%{letter}": fields.pop(f"{DATE}_{letter}") for letter in self._directives}
        if not self.dates:
            return fields, None
        try:
            when = datetime.strptime(" ".join(digits.values()), " ".join(digits))
            return fields, when if "H" in self._directives else when.date()
        except ValueError:  # digits that are no day
            return None
