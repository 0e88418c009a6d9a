"""Whoever watches a run while a block runs: a terminal or notebook, TensorBoard and MLflow."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from miha.events import observed_by
from miha.report.display import Display


@contextmanager
def watched(console: Console | None, tensorboard: Path | None = None, mlflow: Path | None = None) -> Iterator[None]:
    """Show events on a console and write them to folders for TensorBoard and MLflow, each only if it is given."""
    with ExitStack() as watching:
        if console is not None:
            watching.enter_context(observed_by(watching.enter_context(Display(console))))
        if tensorboard is not None:
            from miha.report.tensorboard import TensorBoard  # of an extra

            watching.enter_context(observed_by(watching.enter_context(TensorBoard(tensorboard))))
        if mlflow is not None:
            from miha.report.mlflow import MLflow  # of an extra

            watching.enter_context(observed_by(watching.enter_context(MLflow(mlflow))))
        yield
