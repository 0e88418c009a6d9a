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
    ``{field}`` for anything that a second pattern takes up, ``{date:%Y%j}`` for the day, in a form of strptime.
    """

    def __init__(self, text: str, fields: Mapping[str, str] | None = None, when: date | None = None) -> None:
        """Compile a pattern.

        Args:
            text: as above.
            fields: what fields are known to hold; others may hold anything.
            when: the day, if it is known.

        Raises:
            ValueError: a directive that is none, or that stands for no fixed number of digits.
        """
        self.text, self._forms = text, list[str]()
        self._fields, self._when, self._seen = fields or {}, when, set[str]()
        written, end = "", 0
        for part in _PARTS.finditer(text):
            written += re.escape(text[end : part.start()]) + self._of(part)
            end = part.end()
        self._expression = re.compile("(?:.*/)?" + written + re.escape(text[end:]), re.IGNORECASE)

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
        if field in self._seen:
            return f"(?P={field})"
        self._seen.add(field)
        return f"(?P<{field}>[^/]+?)"

    def _of_date(self, form: str) -> str:
        self._forms.append(form)
        written, end = "", 0
        for directive in re.finditer("%(.)", form):
            if directive[1] not in _DIGITS:
                known = ", ".join(f"%{letter}" for letter in _DIGITS)
                raise ValueError(f"{directive[0]} in {self.text!r} cannot be read; known are {known}")
            written += re.escape(form[end : directive.start()]) + rf"\d{{{_DIGITS[directive[1]]}}}"
            end = directive.end()
        return f"(?P<date{len(self._forms)}>{written}{re.escape(form[end:])})"

    @cached_property
    def dates(self) -> bool:
        """True if it tells year, month and day."""
        form = " ".join(self._forms)
        return ("%Y" in form or "%y" in form) and ("%j" in form or ("%m" in form and "%d" in form))

    def match(self, path: str) -> tuple[dict[str, str], date | None] | None:
        """Fields of a path and its day, or day and time if the pattern has hours; or None if it does not fit.

        The day is None where the pattern does not tell it.
        """
        found = self._expression.fullmatch(path)
        if not found:
            return None
        fields = {name: text for name, text in found.groupdict().items() if not re.fullmatch(r"date\d+", name)}
        if not self.dates:
            return fields, None
        digits = " ".join(found[f"date{number}"] for number in range(1, len(self._forms) + 1))
        try:
            when = datetime.strptime(digits, " ".join(self._forms))
            return fields, when if any("%H" in form for form in self._forms) else when.date()
        except ValueError:  # digits that are no day
            return None
