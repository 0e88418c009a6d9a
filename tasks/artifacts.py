"""What tasks and flows show on the Prefect page: how far long work is, and figures."""

import base64
import io
from typing import cast
from uuid import UUID

from matplotlib.figure import Figure
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact


class Progress:
    """A progress bar on the page of the flow run that makes it.

    Args:
        parts: what is counted, e.g. ``scenes``; also the key of the artifact.
        total: how many there are, at least 1.
        done: how many of them are done already.
    """

    def __init__(self, parts: str, total: int, done: int = 0) -> None:
        self.parts, self.total, self.done = parts, total, done
        made = create_progress_artifact(self._percent(), key=parts, description=self._line())
        self.artifact = cast("UUID", made)  # a flow that is no coroutine has it at once

    def advance(self, parts: int = 1) -> None:
        """So many more are done."""
        self.done += parts
        update_progress_artifact(self.artifact, self._percent(), description=self._line())

    def drop(self, parts: int) -> None:
        """So many less are to be done."""
        self.total -= parts
        self.advance(0)

    def _percent(self) -> float:
        return min(100.0, 100 * self.done / self.total)

    def _line(self) -> str:
        return f"{self.done} of {self.total} {self.parts} done"


def show_figure(figure: Figure, key: str, description: str) -> None:
    """Show a figure on the page.

    The artifact holds the PNG itself, since a browser opens no file of the worker's disk. It is Markdown: below an
    image artifact the page prints the whole address, here some 100,000 characters.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    image = f"![{description}](data:image/png;base64,{encoded})"
    create_markdown_artifact(image, key=key, description=description)
