"""Limits of the search: so many seconds, or so many epochs without a gain, after which no further cycle begins.

What was decided before each cycle is a file, ``<cycle>_budget.json``. So a run that was killed and is continued, in
which what was trained before takes no time, ends its search where it would have.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from miha.config import Schedule
from miha.documents import read_document
from miha.errors import RunError
from miha.files import write_json
from miha.records.record import StageRecord
from miha.records.selection import Continuation


class Budget:
    """What a run may still spend on its search.

    Args:
        folder: where decisions are kept, the run's ``population/``.
        schedule: whose limits count.
    """

    def __init__(self, folder: Path, schedule: Schedule) -> None:
        self.folder = folder
        self.patience, self.max_seconds = schedule.patience, schedule.max_seconds
        self.files: list[Path] = []
        self.start()

    def start(self, seconds: float = 0.0) -> None:
        """Count the time from now on, and so many seconds of earlier tries."""
        self._before, self._since = seconds, time.monotonic()

    def why_it_ends(self, cycle: int, mainline: Sequence[StageRecord]) -> str:
        """Why the search ends before a cycle, or "" if it does not; as was decided before, if it was.

        Args:
            cycle: from 1.
            mainline: all that the model has trained so far, the winner of each cycle included.

        Raises:
            RunError: the file of an earlier decision is damaged.
        """
        if self.patience is None and self.max_seconds is None:
            return ""
        file, parent = self.folder / f"{cycle}_budget.json", mainline[-1].digest
        self.files.append(file)
        kept = read_document(file, Continuation, RunError, "Remove it to decide anew.") if file.exists() else None
        if kept and kept.parent == parent:
            self.start(kept.seconds)
            if (kept.patience, kept.max_seconds) == (self.patience, self.max_seconds):
                return kept.ended
        seconds = self._before + time.monotonic() - self._since
        decision = Continuation(
            cycle=cycle,
            parent=parent,
            patience=self.patience,
            max_seconds=self.max_seconds,
            seconds=seconds,
            ended=self._reason(cycle, mainline, seconds),
        )
        write_json(file, decision.model_dump())
        return decision.ended

    def _reason(self, cycle: int, mainline: Sequence[StageRecord], seconds: float) -> str:
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return f"{seconds:.0f} s of training had passed (schedule.max_seconds {self.max_seconds:g})"
        stale = _epochs_without_gain(mainline)
        if self.patience is not None and cycle > 1 and stale >= self.patience:
            return f"no lower validation loss for {stale} epochs (schedule.patience {self.patience})"
        return ""


def _epochs_without_gain(mainline: Sequence[StageRecord]) -> int:
    """How many epochs ago the validation loss was lowest."""
    losses = {epoch.epoch: epoch.valid_loss for record in mainline for epoch in record.epochs}
    best = min((number for number in losses if losses[number] is not None), key=lambda number: losses[number] or 0.0)
    return mainline[-1].last_epoch - best
