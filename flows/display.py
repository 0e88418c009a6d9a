"""What a run shows in the terminal: its budget, progress bars, each cycle's candidates, and who won."""

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

from miha.progress import Event

NO_TERMINAL_WIDTH = 160


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
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.bars: dict[str, TaskID] = {}

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event; those of no interest here are passed over."""
        details = _escaped(event)
        show = getattr(self, f"_{details.pop('event')}", None)
        if show:
            show(**details)

    def _bar(self, name: str, total: int, done: int = 0) -> None:
        self.bars[name] = self.progress.add_task(name, total=total, completed=done, told="")

    def _close(self, name: str) -> None:
        if name in self.bars:
            self.progress.remove_task(self.bars.pop(name))

    # ---------------------------------------------------------------- one method for each event

    def _run_started(self, budget: int, schedule: dict[str, Any], unchanged: bool, run_dir: str, **where: str) -> None:
        m, c, p, n, k = (
            schedule[key]
            for key in ("initial_epochs", "cycles", "population_size", "candidate_epochs", "fixing_epochs")
        )
        final = schedule["final_epochs"] or m
        kind = "unchanged hyperparameters" if unchanged else f"{c} cycles of {p} candidates"
        self.console.print(
            f"[bold]Budget {budget} epochs[/] = {m} + {c} × ({p}·{n} + {k}) + {final}; {kind}; "
            f"{where['device']}, {where['precision']}; {run_dir}"
        )
        self._bar("all epochs", budget)

    def _preparing(self, data: str) -> None:
        self.preparing = self.progress.add_task(f"samples from {data}", total=None, told="")

    def _prepared(self, seconds: float) -> None:
        self.progress.remove_task(self.preparing)
        self.console.print(f"samples ready after {seconds:.0f} s")

    def _population(self, cycle: int, changes: list[str], wanted: int) -> None:
        if len(changes) < wanted:
            self.console.print(f"cycle {cycle}: {len(changes)} candidates, not {wanted}: no more distinct changes")

    def _stage_started(self, stage: str, change: str, epochs: int, done: int) -> None:
        self._close(stage)
        self._bar(stage, epochs, done)
        self.progress.update(self.bars[stage], description=f"{stage} ({change})")
        if done:
            self.console.print(f"{stage}: continues after {done} epochs")
        self._advance(done)

    def _epoch(self, stage: str, valid_loss: float | None, **_: Any) -> None:
        if (bar := self.bars.get(stage)) is not None:
            told = "loss not finite" if valid_loss is None else f"loss {valid_loss:.4f}"
            self.progress.update(bar, advance=1, told=told)
        self._advance(1)

    def _advance(self, epochs: int) -> None:
        if "all epochs" in self.bars:
            self.progress.update(self.bars["all epochs"], advance=epochs)

    def _stage_reused(self, stage: str, change: str, epochs: int) -> None:
        self.console.print(f"{stage} ({change}): trained before, reused")
        self._advance(epochs)

    def _stage_finished(self, stage: str, change: str, seconds: float, valid_loss: float | None) -> None:
        self._close(stage)
        if "_" not in stage:
            told = "not finite" if valid_loss is None else f"{valid_loss:.4f}"
            self.console.print(f"{stage}: validation loss {told} after {seconds:.1f} s")

    def _retry(self, stage: str, change: str, reason: str) -> None:
        self._close(stage)
        self.console.print(f"[yellow]{stage} ({change}) is tried again: {reason}")

    def _candidate_failed(self, stage: str, change: str, reason: str) -> None:
        self._close(stage)
        self.console.print(f"[yellow]{stage} ({change}) failed for good: {reason}")

    def _selected(
        self, cycle: int, selected: int, outcomes: list[dict[str, Any]], losses: dict[int, Any], **_: Any
    ) -> None:
        table = Table(title=f"cycle {cycle}", title_justify="left", box=None, pad_edge=False)
        for column in ("candidate", "change", "validation loss by epoch", "fitness", ""):
            table.add_column(column, justify="right" if column in ("candidate", "fitness") else "left")
        for outcome in outcomes:
            number = outcome["candidate"]
            curve = " → ".join("–" if loss is None else f"{loss:.4f}" for loss in losses.get(number, ()))
            fitness = "–" if outcome["fitness"] is None else f"{outcome['fitness']:+.4f}"
            verdict = "selected" if number == selected else "" if outcome["status"] == "ok" else outcome["status"]
            style = "bold green" if number == selected else None
            table.add_row(str(number), outcome["change"], curve, fitness, verdict, style=style)
        self.console.print(table)

    def _run_finished(self, best: str, valid_loss: float, metrics: dict[str, float | None], run_dir: str) -> None:
        told = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
        self.console.print(
            f"[bold]Best model: {best}[/], validation loss {valid_loss:.4f} ({told}) → {run_dir}/model/model_best.zip"
        )

    def _fetched(self, done: int, total: int, file: str) -> None:
        if "files" not in self.bars:
            self._bar("files", total)
        self.progress.update(self.bars["files"], completed=done, told=file.rpartition("/")[2])

    def _evaluating(self, gap: str) -> None:
        if "gaps" not in self.bars:
            self.bars["gaps"] = self.progress.add_task("gaps", total=None, told="")
        self.progress.update(self.bars["gaps"], advance=1, told=f"{gap} %")

    def _filled(self, file: str, pixels: int) -> None:
        self.console.print(f"{file}: {pixels} pixels filled")


def _escaped(value: Any) -> Any:
    """The same, with no text in it that Rich would take for markup."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {key: _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list | tuple) else value
