"""Numbers and nouns in sentences."""


def plural(count: int, noun: str) -> str:
    """A count with its noun, e.g. ``1 day`` or ``2 days``.

    Args:
        count: how many, 0 or more.
        noun: in the singular; its plural ends in s.
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
