"""Showing in the terminal what a command does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def shown(when_stopped: str = "Stopped.", tensorboard: Path | None = None, mlflow: Path | None = None) -> Iterator[Any]:
    """Show the events of the block in the terminal; yields the console. Ctrl-C and SIGTERM end with a word."""
    from miha.report.display import plain_console
    from miha.report.watching import watched

    console = plain_console()
    try:
        with watched(console, tensorboard, mlflow):
            yield console
    except (KeyboardInterrupt, SystemExit):
        console.print(when_stopped)
        raise
