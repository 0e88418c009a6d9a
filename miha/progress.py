"""Telling whoever watches what a run is doing: an event is published, every observer is called with it.

Observers are display and log; nothing depends on them. Events cross from worker processes by datagrams on a local
socket, which no dying process can lock. They arrive in their order, but may do so after the result of the stage.
"""

import json
import logging
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Event = dict[str, Any]  # {"event": name, …}, JSON
Observer = Callable[[Event], None]

_observers: list[Observer] = []
_PATIENCE = 1.0  # seconds that a worker waits for room: a local socket holds as few as ten datagrams


def publish(event: str, **details: Any) -> None:
    """Call every observer with one event."""
    for observer in list(_observers):
        observer({"event": event, **details})


@contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Have ``observer`` called with all events of this process while the block runs."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


@contextmanager
def receiving() -> Iterator[str]:
    """Publish here what worker processes send; yields the address to give them."""
    with (
        tempfile.TemporaryDirectory(prefix="miha-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox,
    ):
        address = str(Path(folder) / "events")
        inbox.bind(address)
        thread = threading.Thread(target=_receive, args=(inbox,), daemon=True, name="miha-progress")
        thread.start()
        try:
            yield address
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outbox:
                outbox.sendto(b'{"event": "close"}', address)
            thread.join(timeout=5)


def _receive(inbox: socket.socket) -> None:
    while True:
        event = json.loads(inbox.recv(65536))
        name = event.pop("event")
        if name == "close":
            return
        try:
            publish(name, **event)
        except Exception:  # a display that fails must not stop the workers, who would wait for their events to be read
            logging.getLogger(__name__).exception("an observer failed at event %s", name)


def sender(address: str) -> Observer:
    """An observer that passes events on to :func:`receiving` in another process."""
    outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    outbox.settimeout(_PATIENCE)

    def send(event: Event) -> None:
        try:
            outbox.sendto(json.dumps(event).encode(), address)
        except OSError:
            pass  # nobody watches any more, or the one who does stands still; training goes on

    return send


def send_from_worker(address: str) -> None:
    """In a worker process: pass all its events on."""
    _observers[:] = [sender(address)]
