"""Telling whoever watches what a run is doing: an event is published, every observer is called with it.

Observers are display and log; nothing depends on them. Events cross from worker processes as JSON, in datagrams on a
local socket, which no dying process can lock. They arrive in their order, but may do so after the result of the stage.
"""

import logging
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from miha.evolution.change import Change
from miha.records.record import Epoch, StageId
from miha.records.selection import Selection
from miha.sockets import socket_folder

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunStarted:
    """A run begins: its total of epochs in numbers and in words, and what it computes with."""

    budget: int
    schedule: str
    run_dir: str
    device: str
    precision: str
    kind: Literal["run started"] = "run started"


@dataclass(frozen=True)
class Counted:
    """Work of many parts goes on: ``done`` of ``total`` (None: unknown), the latest being ``part``."""

    work: str
    done: int
    total: int | None = None
    part: str = ""
    kind: Literal["counted"] = "counted"


@dataclass(frozen=True)
class Working:
    """Work that tells nothing on its way begins."""

    work: str
    kind: Literal["working"] = "working"


@dataclass(frozen=True)
class Message:
    """A line to show; it ends what :class:`Working` began."""

    line: str
    kind: Literal["message"] = "message"


@dataclass(frozen=True)
class StageStarted:
    """A stage of ``epochs`` epochs begins, ``done`` of them trained before it was interrupted."""

    stage: StageId
    change: Change
    epochs: int
    done: int
    kind: Literal["stage started"] = "stage started"


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of a stage was trained and validated."""

    stage: StageId
    epoch: Epoch
    kind: Literal["epoch ended"] = "epoch ended"


@dataclass(frozen=True)
class StageReused:
    """A stage was trained before; its archive is there, whole."""

    stage: StageId
    change: Change
    epochs: int
    kind: Literal["stage reused"] = "stage reused"


@dataclass(frozen=True)
class StageEnded:
    """A stage was trained to its end, in ``seconds``."""

    stage: StageId
    change: Change
    seconds: float
    valid_loss: float | None
    kind: Literal["stage ended"] = "stage ended"


@dataclass(frozen=True)
class StageRetried:
    """A stage failed, and is tried again since that may pass."""

    stage: StageId
    change: Change
    reason: str
    kind: Literal["stage retried"] = "stage retried"


@dataclass(frozen=True)
class CandidateFailed:
    """A candidate failed for good."""

    stage: StageId
    change: Change
    reason: str
    kind: Literal["candidate failed"] = "candidate failed"


@dataclass(frozen=True)
class Selected:
    """The fittest candidate of a cycle was chosen; ``losses`` by number of the candidate, after each epoch."""

    selection: Selection
    losses: dict[int, tuple[float | None, ...]]
    kind: Literal["selected"] = "selected"


@dataclass(frozen=True)
class SearchEnded:
    """A limit ended the search: so many cycles, and their epochs, are left out; final training follows."""

    sentence: str
    cycles: int
    epochs: int
    kind: Literal["search ended"] = "search ended"


@dataclass(frozen=True)
class RunEnded:
    """A run came to its end; ``gains`` says what it gained."""

    best: str
    epoch: Epoch
    run_dir: str
    gains: tuple[str, ...] = ()
    kind: Literal["run ended"] = "run ended"


Event = (
    RunStarted
    | Counted
    | Working
    | Message
    | StageStarted
    | EpochEnded
    | StageReused
    | StageEnded
    | StageRetried
    | CandidateFailed
    | Selected
    | SearchEnded
    | RunEnded
)
Observer = Callable[[Any], None]  # called with an Event

_JSON: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Discriminator("kind")])
_observers: list[Observer] = []
_PATIENCE = 1.0  # seconds that a worker waits for room: a local socket holds as few as ten datagrams
_CLOSE = b"close"


def publish(event: Event) -> None:
    """Call every observer with one event."""
    for observer in list(_observers):
        observer(event)


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Have ``observer`` called with all events of this process while the block runs."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


@contextmanager
def unobserved() -> Iterator[None]:
    """Call no observer while the block runs: for work within work, whose steps are of no interest."""
    observers = list(_observers)
    _observers.clear()
    try:
        yield
    finally:
        _observers[:] = observers


def to_json(event: Event) -> bytes:
    """An event for another process."""
    return _JSON.dump_json(event)


def from_json(message: bytes | str) -> Event:
    """The event that :func:`to_json` wrote.

    Raises:
        ValueError: no such event.
    """
    return _JSON.validate_json(message)


@contextmanager
def receiving() -> Iterator[str]:
    """Publish here what worker processes send; yields the address to give them."""
    with (
        tempfile.TemporaryDirectory(prefix="miha-", dir=socket_folder()) as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox,
    ):
        address = str(Path(folder) / "events")
        inbox.bind(address)
        thread = threading.Thread(target=_receive, args=(inbox,), daemon=True, name="miha-events")
        thread.start()
        try:
            yield address
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outbox:
                outbox.sendto(_CLOSE, address)
            thread.join(timeout=5)


def _receive(inbox: socket.socket) -> None:
    """Read until asked to close: were a message to end this, every worker would wait for its events to be read."""
    while (message := inbox.recv(65536)) != _CLOSE:
        try:
            publish(from_json(message))
        except ValidationError:
            _LOG.warning("a message that is no event was passed over: %r", message[:80])
        except Exception:  # whatever an observer may raise
            _LOG.exception("an observer failed")


def sender(address: str) -> Observer:
    """An observer that passes events on to :func:`receiving` in another process."""
    outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    outbox.settimeout(_PATIENCE)

    def send(event: Event) -> None:
        try:
            outbox.sendto(to_json(event), address)
        except (OSError, ValueError):
            pass  # nobody watches any more, the one who does stands still, or a name is no UTF-8; training goes on

    return send


def send_from_worker(address: str) -> None:
    """In a worker process: pass all its events on."""
    _observers[:] = [sender(address)]
