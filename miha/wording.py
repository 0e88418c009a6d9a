"""Numbers and nouns in sentences, and what a misspelt word may stand for."""

from collections.abc import Iterable
from difflib import get_close_matches


def plural(count: int, noun: str) -> str:
    """A count with its noun, e.g. ``1 day`` or ``2 days``.

    Args:
        count: how many, 0 or more.
        noun: in the singular; its plural ends in s.
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def meant(word: str, known: Iterable[str]) -> str:
    """What comes after a word that is unknown: ``; did you mean 'epochs'?``, or nothing if no known word is alike."""
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
