import logging
import random
import socket
import threading
import time
from pathlib import Path
from typing import get_args

import pytest

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
    from_json,
    observed_by,
    publish,
    receiving,
    sender,
    to_json,
)
from miha.evolution.change import UNCHANGED, Change
from miha.evolution.point import Hyperparameters
from miha.records.record import Epoch, StageId
from miha.records.selection import CandidateOutcome, Selection

STAGE = StageId(kind="candidate", cycle=1, candidate=2)
CHANGE = Change(operator="lr", target="lr", before=0.001, after=1.0)
EPOCH = Epoch(
    epoch=3,
    train_loss=0.1,
    valid_loss=0.5,
    shares=(0.2, 0.3),
    metrics={"mae": 1.0},
    batch_size=8,
    optimizer="Adam",
    lr=1.0,
)
LOST = EPOCH.model_copy(update={"train_loss": None, "valid_loss": None, "shares": ()})
OUTCOME = CandidateOutcome(
    cycle=1,
    candidate=0,
    change=UNCHANGED,
    hyperparameters=Hyperparameters(optimizer="Adam", activations={"act": "ReLU"}),
    status="ok",
    fitness=0.5,
    level=0.25,
    rate=1.0,
    noise=0.125,
)
SELECTION = Selection(cycle=1, selected=0, criterion="c", digests=("d",), outcomes=(OUTCOME,))
EVENTS = [
    RunStarted(30, "2 + 2 × (4·2 + 1) + 2", "runs/mine", "cpu", "float32"),
    Counted("samples", 3, 10, "scene.tif"),
    Counted("samples", 3),
    Working("samples"),
    Message("samples ready after 3 s"),
    StageStarted(STAGE, CHANGE, epochs=3, done=1),
    EpochEnded(STAGE, EPOCH),
    EpochEnded(STAGE, LOST),
    StageReused(STAGE, CHANGE, epochs=3),
    StageEnded(STAGE, CHANGE, 2.5, None),
    StageRetried(STAGE, CHANGE, "OSError: disk → full"),
    CandidateFailed(STAGE, CHANGE, "ProcessExpired"),
    Selected(SELECTION, {0: (0.5, None), 3: ()}),
    SearchEnded("The search ended.", 2, 30),
    RunEnded("final", EPOCH, "runs/mine", ("It gained 3 %.",)),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_every_event_survives_its_way_to_another_process(event):
    again = from_json(to_json(event))
    assert again == event
    assert type(again) is type(event)
    assert to_json(again) == to_json(event)


def test_no_kind_of_event_is_left_out_here_and_each_has_a_name_of_its_own():
    assert {type(event) for event in EVENTS} == set(get_args(Event))
    assert len({event.kind for event in EVENTS}) == len(get_args(Event))


NO_EVENTS = {
    "random bytes": random.Random(0).randbytes(500),
    "no text": b"\xff\xfe\x80",
    "nothing": b"",
    "truncated": to_json(EVENTS[0])[:-20],
    "of an unknown kind": b'{"kind": "lunch", "line": "a"}',
    "without a kind": b'{"line": "a"}',
    "without a part": b'{"kind": "message"}',
    "of another type": b'{"kind": "counted", "work": "a", "done": "many"}',
    "no object": b"[1, 2]",
    "nested deeply": b"[" * 20_000,
}


@pytest.mark.parametrize("message", NO_EVENTS.values(), ids=NO_EVENTS)
def test_what_is_no_event_is_refused(message):
    with pytest.raises(ValueError, match="validation error"):
        from_json(message)


@pytest.fixture
def heard():
    """Events that this process publishes."""
    events = []
    with observed_by(events.append):
        yield events


def wait_until_heard(heard, expected, seconds=10.0):
    end = time.monotonic() + seconds
    while len(heard) < len(expected) and time.monotonic() < end:
        time.sleep(0.005)
    assert heard == expected


def test_events_that_are_sent_are_published_in_their_order(heard):
    with receiving() as address:
        send = sender(address)
        for event in EVENTS:
            send(event)
        wait_until_heard(heard, EVENTS)


@pytest.mark.parametrize("message", NO_EVENTS.values(), ids=NO_EVENTS)
def test_a_message_that_is_no_event_is_passed_over_and_later_events_arrive_soon(heard, caplog, message):
    later = [Counted("numbers", number) for number in range(100)]  # many times what the socket holds
    with caplog.at_level(logging.WARNING, "miha"), receiving() as address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(message, address)
        send, started = sender(address), time.monotonic()
        for event in later:
            send(event)
        wait_until_heard(heard, later)
        assert time.monotonic() - started < 4.0, "a dead receiver would cost a second for each event"
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "a message that is no event was passed over"
    ]


def test_an_observer_that_fails_ends_neither_the_receiver_nor_other_events(heard, caplog):
    def failing(event):
        if event == EVENTS[0]:
            raise RuntimeError("this display is broken")

    with caplog.at_level(logging.ERROR, "miha"), observed_by(failing), receiving() as address:
        send = sender(address)
        for event in EVENTS:
            send(event)
        wait_until_heard(heard, EVENTS)
    (record,) = caplog.records
    assert record.message == "an observer failed"
    assert "this display is broken" in record.exc_text


def test_who_sends_goes_on_where_nobody_watches_any_more(heard):
    with receiving() as address:
        send = sender(address)
    started = time.monotonic()
    send(EVENTS[0])
    assert time.monotonic() - started < 1.0
    assert heard == []


def test_a_receiver_leaves_neither_thread_nor_folder_behind():
    def receivers():
        return [thread for thread in threading.enumerate() if thread.name == "miha-events"]

    before = len(receivers())
    with receiving() as address:
        assert len(receivers()) == before + 1
        assert Path(address).exists()
    assert len(receivers()) == before
    assert not Path(address).parent.exists()


def test_an_observer_is_called_while_its_block_runs_and_no_longer():
    inner, outer = [], []
    with observed_by(outer.append):
        publish(EVENTS[0])
        with observed_by(inner.append):
            publish(EVENTS[1])
        publish(EVENTS[2])
    publish(EVENTS[3])
    assert outer == EVENTS[:3]
    assert inner == [EVENTS[1]]


def test_an_observer_that_raises_does_not_outlive_its_block():
    def failing(event):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), observed_by(failing):
        publish(EVENTS[0])
    publish(EVENTS[0])
