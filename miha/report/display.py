"""What a run shows in the terminal: its budget, progress bars, each cycle's candidates, and who won."""

from functools import singledispatchmethod
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from miha.events import (
    CandidateFailed,
    Counted,
    EpochEnded,
    Event,
    Message,
    RunEnded,
    RunStarted,
    SearchEnded,
    Selected,
    StageEnded,
    StageRetried,
    StageReused,
    StageStarted,
    Working,
)
from miha.records.record import StageId
from miha.wording import plural

NO_TERMINAL_WIDTH = 160
ALL_EPOCHS = "all epochs"


def plain_console() -> Console:
    """A console that does not break lines where nobody sees a terminal's edge: in pipes and files."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=NO_TERMINAL_WIDTH)


class Display:
    """An observer of events that draws on a terminal (plain lines where there is none)."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=console.is_jupyter and find_spec("ipywidgets") is None,  # without it rich has no bars in a notebook
        )
        self.bars: dict[str | StageId, TaskID] = {}
        self.epochs: dict[StageId, int] = {}  # trained of each stage; of one that is tried again, not twice

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._show(event)

    def _bar(self, key: str | StageId, label: str, total: int | None, done: int = 0) -> None:
        self._close(key)
        self.bars[key] = self.progress.add_task(escape(label), total=total, completed=done, note="")

    def _close(self, key: str | StageId) -> None:
        if key in self.bars:
            self.progress.remove_task(self.bars.pop(key))

    def _trained(self, stage: StageId, epochs: int) -> None:
        self.epochs[stage] = epochs
        if ALL_EPOCHS in self.bars:
            self.progress.update(self.bars[ALL_EPOCHS], completed=sum(self.epochs.values()))

    # ---------------------------------------------------------------- one method for each event

    @singledispatchmethod
    def _show(self, event: Any) -> None:
        raise TypeError(f"no display of {event!r}")

    @_show.register
    def _(self, event: RunStarted) -> None:
        self.console.print(
            f"[bold]Budget {plural(event.budget, 'epoch')}[/] = {event.schedule}; {event.device}, {event.precision}; "
            f"{escape(event.run_dir)}"
        )
        self._bar(ALL_EPOCHS, ALL_EPOCHS, event.budget)

    @_show.register
    def _(self, event: Working) -> None:
        self._bar("working", event.work, None)

    @_show.register
    def _(self, event: Message) -> None:
        self._close("working")
        self.console.print(event.line, markup=False)

    @_show.register
    def _(self, event: Counted) -> None:
        if event.work not in self.bars:
            self._bar(event.work, event.work, event.total)
        self.progress.update(self.bars[event.work], completed=event.done, note=escape(event.part))
        if event.done == event.total:
            self._close(event.work)

    @_show.register
    def _(self, event: StageStarted) -> None:
        self._bar(event.stage, f"{event.stage} ({event.change})", event.epochs, event.done)
        if event.done:
            self.console.print(f"{event.stage}: continues after {plural(event.done, 'epoch')}")
        self._trained(event.stage, event.done)

    @_show.register
    def _(self, event: EpochEnded) -> None:
        loss = event.epoch.valid_loss
        if (bar := self.bars.get(event.stage)) is not None:
            self.progress.update(bar, advance=1, note="loss not finite" if loss is None else f"loss {loss:.4f}")
        self._trained(event.stage, self.epochs.get(event.stage, 0) + (event.epoch.epoch > 0))

    @_show.register
    def _(self, event: StageReused) -> None:
        self.console.print(escape(f"{event.stage} ({event.change}): trained before, reused"))
        self._trained(event.stage, event.epochs)

    @_show.register
    def _(self, event: StageEnded) -> None:
        self._close(event.stage)
        if event.stage.candidate is None:
            loss = "not finite" if event.valid_loss is None else f"{event.valid_loss:.4f}"
            self.console.print(f"{event.stage}: validation loss {loss} after {event.seconds:.1f} s")

    @_show.register
    def _(self, event: StageRetried) -> None:
        self._close(event.stage)
        self.console.print("[yellow]" + escape(f"{event.stage} ({event.change}) is tried again: {event.reason}"))

    @_show.register
    def _(self, event: CandidateFailed) -> None:
        self._close(event.stage)
        self.console.print("[yellow]" + escape(f"{event.stage} ({event.change}) failed for good: {event.reason}"))

    @_show.register
    def _(self, event: Selected) -> None:
        selection = event.selection
        table = Table(title=f"cycle {selection.cycle}", title_justify="left", box=None, pad_edge=False)
        for column in ("candidate", "change", "validation loss by epoch", "fitness", "noise", ""):
            table.add_column(column, justify="right" if column in ("candidate", "fitness", "noise") else "left")
        for outcome in selection.outcomes:
            won = outcome.candidate == selection.selected
            curve = event.losses.get(outcome.candidate, ())
            verdict = "selected" if won else "" if outcome.status == "ok" else outcome.status
            table.add_row(
                str(outcome.candidate),
                escape(str(outcome.change)),
                " → ".join("–" if loss is None else f"{loss:.4f}" for loss in curve),
                "–" if outcome.fitness is None else f"{outcome.fitness:+.4f}",
                "–" if outcome.noise is None else f"{outcome.noise:.4f}",
                escape(verdict),
                style="bold green" if won else None,
            )
        self.console.print(table)

    @_show.register
    def _(self, event: SearchEnded) -> None:
        self.console.print(event.sentence, markup=False)
        if (bar := self.bars.get(ALL_EPOCHS)) is not None:
            total = self.progress.tasks[self.progress.task_ids.index(bar)].total
            self.progress.update(bar, total=(total or 0) - event.epochs)

    @_show.register
    def _(self, event: RunEnded) -> None:
        numbers = {"validation loss": event.epoch.valid_loss, **event.epoch.metrics}
        figures = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items() if value is not None)
        model = escape(f"{event.run_dir}/model/model_best.zip")
        for sentence in event.gains:
            self.console.print(sentence, markup=False)
        self.console.print(f"[bold]Best model: {escape(event.best)}[/], {figures} → {model}")
