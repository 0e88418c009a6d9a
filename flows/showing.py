"""Showing in the terminal what a command does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def shown(when_stopped: str = "Stopped.") -> Iterator[Any]:
    """Show the events of the block in the terminal; yields the console. Ctrl-C and SIGTERM end with a word."""
    from miha.events import observed_by
    from miha.report.display import Display, plain_console

    console = plain_console()
    try:
        with Display(console) as display, observed_by(display):
            yield console
    except (KeyboardInterrupt, SystemExit):
        console.print(when_stopped)
        raise
