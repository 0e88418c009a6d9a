"""Where work is computed: a pool of processes, warm, apart from each other, gone with their parent; or another pool."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing import forkserver
from typing import Any, Protocol

from pebble import ProcessPool

from miha import events
from miha.errors import MihaError, StorageError
from miha.script import refuse_unguarded
from miha.sockets import socket_folder

# A server that has imported PyTorch once forks each worker, in milliseconds; it never computes, so forking it is safe.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["miha.training.stage"])


class Pool(Protocol):
    """What computes calls beside each other, for :func:`submit`."""

    def schedule(self, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float | None) -> Future[Any]:
        """Compute ``function(*arguments)``, within so many seconds."""

    def stop(self) -> None:
        """Stop what is not done."""


class _Workers:
    """A pool, another in its place if it breaks (all idle workers may have been killed), and what it has not done."""

    def __init__(self, processes: int, address: str) -> None:
        self.processes, self.address = processes, address
        self.pool = self._pool()
        self.pending: set[Future[Any]] = set()
        self.stopped = False
        self.lock = threading.Lock()

    def _pool(self) -> ProcessPool:
        return ProcessPool(max_workers=self.processes, context=_CONTEXT, initializer=_start, initargs=[self.address])

    def schedule(self, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float | None) -> Future[Any]:
        with self.lock:
            if self.stopped:
                cancelled = Future[Any]()
                cancelled.cancel()
                cancelled.set_running_or_notify_cancel()  # so that whoever waits is notified
                return cancelled
            if not self.pool.active:
                self.pool.stop()
                self.pool = self._pool()
            future: Future[Any] = self.pool.schedule(function, args=list(arguments), timeout=timeout)
            self.pending.add(future)
        future.add_done_callback(self.pending.discard)
        return future

    def stop(self) -> None:
        with self.lock:
            if self.stopped:
                return
            self.stopped = True
            for future in list(self.pending):
                if future.cancel():
                    with suppress(RuntimeError):  # the pool may have set it already, or, if it stops, never
                        future.set_running_or_notify_cancel()
            self.pool.stop()
            self.pool.join(timeout=30)


def warm_up() -> None:
    """Start the server that forks workers, so that it imports PyTorch while this process does.

    It looks for modules where this process does, not in the current folder first.
    """
    socket_folder()
    where = {"PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path), "PYTHONSAFEPATH": "1"}
    former = {key: os.environ[key] for key in where if key in os.environ}
    os.environ.update(where)
    try:
        forkserver.ensure_running()
    finally:
        for key in where:
            del os.environ[key]
        os.environ.update(former)


_current: ContextVar[Pool | None] = ContextVar("workers", default=None)


@contextmanager
def working(processes: int) -> Iterator[None]:
    """Compute in a pool of processes while the block runs; on leaving, unfinished work is stopped.

    Raises:
        RunError: a script that processes would run again, or cannot read: :func:`miha.script.refuse_unguarded`.
    """
    refuse_unguarded("a pool of workers")
    warm_up()
    with events.receiving() as address, working_in(_Workers(processes, address)):
        yield


@contextmanager
def working_in(pool: Pool) -> Iterator[None]:
    """Compute in a pool while the block runs; on leaving, it is stopped."""
    token = _current.set(pool)
    try:
        yield
    finally:
        _current.reset(token)
        pool.stop()


def submit(function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Future[Any]:
    """Run ``function(*arguments)`` in the pool, or at once right here where there is none (one process, a Dask worker).

    A process that dies costs its own call alone, and the pool replaces it.

    Args:
        function: what to run; it and its arguments can be pickled.
        timeout: seconds after which the process is killed (None: never; without a pool never).

    Returns:
        A future that raises what the function raised, ``ProcessExpired`` if its process died, ``TimeoutError``, or
        ``CancelledError`` if the pool was stopped.
    """
    if (workers := _current.get()) is not None:
        return workers.schedule(function, arguments, timeout)
    future: Future[Any] = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def compute_all(function: Callable[[Any], Any], items: Iterable[Any], retries: int = 0, work: str = "") -> list[Any]:
    """``[function(item) for item in items]``, spread over the pool; each tried again after failures that may pass.

    How far that is comes as events if the ``work`` has a name.
    """
    items, results = list(items), list[Any]()
    running = ((item, submit(function, item)) for item in items)
    for item, future in running if _current.get() is None else list(running):  # without a pool one after the other
        results.append(_result(function, item, future, retries))
        if work:
            events.publish(events.Counted(work, len(results), len(items)))
    return results


def _result(function: Callable[[Any], Any], item: Any, future: Future[Any], retries: int) -> Any:
    try:
        return future.result()
    except Exception as error:
        if not retries or not is_transient(error):
            raise
    return _result(function, item, submit(function, item), retries - 1)


def is_transient(error: BaseException) -> bool:
    """True for what may pass on another try: a dead process, a timeout, I/O. What we say on purpose will not pass."""
    return isinstance(error, StorageError) or not isinstance(error, MihaError | CancelledError)


def _start(address: str) -> None:
    """In a fresh worker: report to the parent, leave Ctrl-C and warnings to it, and end when it dies."""
    logging.getLogger("miha").setLevel(logging.ERROR)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    events.send_from_worker(address)
    follow_parent()


def follow_parent() -> None:
    """From now on end this process, whatever it does, as soon as the one that started it is gone."""
    threading.Thread(target=_follow, daemon=True, name="miha-parent-watch").start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
