"""The curves of a run for TensorBoard, as they are made: one line for the mainline, one for each candidate."""

from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from miha.events import EpochEnded, Event, Selected
from miha.records.record import StageId
from miha.report.curves import figures


class TensorBoard:
    """An observer of events that writes to a folder while its ``with`` block runs: ``tensorboard --logdir FOLDER``.

    Curves are drawn over the mainline's epochs. Stages that are reused were written by the call that trained them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: dict[str, Any] = {}

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self.writers.values():
            writer.close()

    def __call__(self, event: Event) -> None:
        """Write down one event, if it has figures."""
        if isinstance(event, EpochEnded):
            writer = self._writer(event.stage)
            for name, value in figures(event.epoch).items():
                writer.add_scalar(name, value, event.epoch.epoch)
            writer.flush()
        elif isinstance(event, Selected):
            winner = event.selection.winner
            self._named("mainline").add_text("selected", str(winner.change), event.selection.cycle)

    def _writer(self, stage: StageId) -> Any:
        return self._named("mainline" if stage.candidate is None else f"{stage.cycle}_{stage.candidate}")

    def _named(self, name: str) -> Any:
        if name not in self.writers:
            self.writers[name] = SummaryWriter(self.folder / name)
        return self.writers[name]
