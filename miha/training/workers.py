"""The pool of processes in which stages train: warm, spawned, each on its own, and gone when their parent is."""

import importlib
import logging
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


_current: ContextVar[ProcessPool | None] = ContextVar("workers", default=None)


@contextmanager
def working(processes: int) -> Iterator[None]:
    """Compute in a pool of processes while the block runs; on leaving, unfinished work is stopped."""
    context = multiprocessing.get_context("spawn")
    with progress.receiving() as address:
        pool = ProcessPool(max_workers=processes, context=context, initializer=_start, initargs=[os.getpid(), address])
        token = _current.set(pool)
        try:
            yield
        finally:
            _current.reset(token)
            pool.stop()
            pool.join(timeout=30)


def submit(function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Future[Any]:
    """Run ``function(*arguments)`` in the pool, or at once right here where there is none (one process, a Dask worker).

    A process that dies costs its own call alone, and the pool replaces it.

    Args:
        function: what to run; it and its arguments can be pickled.
        timeout: seconds after which the process is killed (None: never; without a pool never).

    Returns:
        A future that raises what the function raised, ``ProcessExpired`` if its process died, or ``TimeoutError``.
    """
    if (pool := _current.get()) is not None:
        scheduled: Future[Any] = pool.schedule(function, args=list(arguments), timeout=timeout)
        return scheduled
    future: Future[Any] = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


def compute_all(function: Callable[[Any], Any], items: Iterable[Any], retries: int = 0) -> list[Any]:
    """``[function(item) for item in items]``, spread over the pool; each tried again after failures that may pass."""
    work = [(item, submit(function, item)) for item in items]
    return [_result(function, item, future, retries) for item, future in work]


def _result(function: Callable[[Any], Any], item: Any, future: Future[Any], retries: int) -> Any:
    try:
        return future.result()
    except Exception as error:
        if not retries or not is_transient(error):
            raise
    return _result(function, item, submit(function, item), retries - 1)


def is_transient(error: BaseException) -> bool:
    """True for what may pass on another try: a dead process, a timeout, I/O. What we say on purpose will not pass."""
    return isinstance(error, StorageError) or not isinstance(error, MihaError)


def _start(parent: int, address: str) -> None:
    """In a fresh worker: report to the parent, leave Ctrl-C and warnings to it, end when it dies, and load PyTorch."""
    logging.getLogger("miha").setLevel(logging.ERROR)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.send_from_worker(address)
    threading.Thread(target=_follow, args=(parent,), daemon=True, name="miha-parent-watch").start()
    importlib.import_module("miha.training.stages")  # in all workers at once, not in each when its first call comes


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL)
    os._exit(1)
