"""The pool of processes in which stages train: warm, spawned, each on its own, and gone when their parent is."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pebble import ProcessPool

from miha import progress
from miha.errors import MihaError, StorageError

_PARENT_POLL = 1.0  # seconds between looks whether the parent still lives


class Workers:
    """Processes that compute. One that dies costs its own task alone; the pool replaces it."""

    def __init__(self, pool: ProcessPool) -> None:
        self._pool = pool

    def submit(self, function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Future[Any]:
        """Run ``function(*arguments)`` in a worker; it is killed after ``timeout`` seconds (None: never).

        The future raises what the function raised, ``ProcessExpired`` if its process died, or ``TimeoutError``.
        """
        future: Future[Any] = self._pool.schedule(function, args=list(arguments), timeout=timeout)
        return future


_current: ContextVar[Workers | None] = ContextVar("workers", default=None)


@contextmanager
def working(processes: int) -> Iterator[None]:
    """Compute in a pool of processes while the block runs; on leaving, unfinished work is stopped."""
    context = multiprocessing.get_context("spawn")
    with progress.receiving() as address:
        pool = ProcessPool(max_workers=processes, context=context, initializer=_start, initargs=[os.getpid(), address])
        token = _current.set(Workers(pool))
        try:
            yield
        finally:
            _current.reset(token)
            pool.stop()
            pool.join(timeout=30)


def compute(function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:
    """Run ``function(*arguments)`` in the pool, or right here where there is none (one process, a Dask worker)."""
    workers = _current.get()
    return function(*arguments) if workers is None else workers.submit(function, *arguments, timeout=timeout).result()


def compute_all(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """``[function(item) for item in items]``, spread over the pool where there is one."""
    workers = _current.get()
    if workers is None:
        return [function(item) for item in items]
    return [future.result() for future in [workers.submit(function, item) for item in items]]


def is_transient(error: BaseException) -> bool:
    """True for what may pass on another try: a dead process, a timeout, I/O. What we say on purpose will not pass."""
    return isinstance(error, StorageError) or not isinstance(error, MihaError)


def _start(parent: int, address: str) -> None:
    """In a fresh worker: report to the parent, leave Ctrl-C to it, and end when it dies, whatever killed it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.send_from_worker(address)
    threading.Thread(target=_follow, args=(parent,), daemon=True, name="miha-parent-watch").start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL)
    os._exit(1)
