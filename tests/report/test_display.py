import io

import pytest
from rich.console import Console

from miha.events import (
    Counted,
    EpochEnded,
    RunEnded,
    RunStarted,
    Selected,
    StageEnded,
    StageRetried,
    StageReused,
    StageStarted,
)
from miha.evolution.change import UNCHANGED
from miha.records.record import Epoch, StageId
from miha.report.display import ALL_EPOCHS, Display
from tests.support.runs import of_kind, watch

INITIAL = StageId(kind="initial", cycle=0)


def epoch(number):
    return EpochEnded(
        INITIAL,
        Epoch(epoch=number, train_loss=1.0, valid_loss=1.0, metrics={}, batch_size=1, optimizer="Adam", lr=0.1),
    )


@pytest.fixture
def display():
    with Display(Console(file=io.StringIO(), width=120)) as display:
        display(RunStarted(10, "10", "runs/x", "cpu", "float32"))
        yield display


def completed(display):
    (task,) = [task for task in display.progress.tasks if task.id == display.bars[ALL_EPOCHS]]
    return task.completed


def test_a_stage_that_is_tried_again_counts_its_epochs_once(display):
    for event in (StageStarted(INITIAL, UNCHANGED, 10, 0), epoch(1), epoch(2), epoch(3)):
        display(event)
    assert completed(display) == 3
    display(StageRetried(INITIAL, UNCHANGED, "its process died"))
    display(StageStarted(INITIAL, UNCHANGED, 10, 2))
    assert completed(display) == 2
    for number in range(3, 11):
        display(epoch(number))
    assert completed(display) == 10


def test_the_base_costs_no_epoch(display):
    base = StageId(kind="base", cycle=0)
    untrained = epoch(0).epoch.model_copy(update={"train_loss": None})
    for event in (
        StageStarted(base, UNCHANGED, 0, 0),
        EpochEnded(base, untrained),
        StageEnded(base, UNCHANGED, 1, 1.0),
    ):
        display(event)
    assert completed(display) == 0


def test_a_stage_that_is_reused_counts_whole_and_once(display):
    for event in (StageStarted(INITIAL, UNCHANGED, 10, 0), epoch(1), StageReused(INITIAL, UNCHANGED, 10)):
        display(event)
    assert completed(display) == 10


def test_every_event_of_a_run_is_shown_and_the_bar_of_all_epochs_ends_full(tiny_config):
    _, events = watch(tiny_config())
    console = Console(file=io.StringIO(), width=200)
    with Display(console) as display:
        for event in events:
            display(event)
        assert completed(display) == tiny_config().schedule.budget
    text = console.file.getvalue()
    (ended,) = of_kind(events, RunEnded)
    assert f"Best model: {ended.best}" in text
    for event in of_kind(events, Selected):
        for outcome in event.selection.outcomes:
            assert str(outcome.change) in text
    assert sum(line.startswith(("base: ", "init: ", "1: ", "2: ", "final: ")) for line in text.splitlines()) == 5
    assert len(of_kind(events, StageEnded)) == 13


def test_text_in_brackets_is_shown_as_it_is(display):
    display(StageRetried(INITIAL, UNCHANGED, "OSError: [Errno 5] [bold]"))
    assert "[Errno 5] [bold]" in display.console.file.getvalue()


def test_work_that_is_counted_has_a_bar_until_it_is_done(display):
    for done in (1, 2):
        display(Counted("samples", done, 3))
    (task,) = [task for task in display.progress.tasks if task.id == display.bars["samples"]]
    assert (task.completed, task.total) == (2, 3)
    display(Counted("samples", 3, 3))
    assert "samples" not in display.bars
