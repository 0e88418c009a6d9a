"""Cores, as many as there are, and threads, a fixed number: results depend on it in their last bits."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path

from threadpoolctl import ThreadpoolController


def usable_cores() -> int:
    """Cores that this process may use: fewer than there are if it is bound to some, or has a quota (a container)."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(bound, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups, or no limit ("max")
        return bound


@contextmanager
def fixed_threads(number: int) -> Iterator[None]:
    """Let PyTorch and the BLAS libraries compute with ``number`` threads inside the block."""
    import torch  # takes a second, and who asks for cores needs none

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with library_threads(number):
            yield
    finally:
        torch.set_num_threads(before)


def library_threads(number: int) -> AbstractContextManager[None]:
    """Let the BLAS and OpenMP libraries compute with ``number`` threads inside the block."""
    limits: AbstractContextManager[None] = _libraries(len(sys.modules)).limit(limits=number)
    return limits


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """The libraries that are loaded; looking for them takes milliseconds, and only imports of modules load more."""
    return ThreadpoolController()
