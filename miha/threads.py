"""A fixed number of threads: results depend on it in their last bits, so it is never a machine's core count."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def fixed_threads(number: int) -> Iterator[None]:
    """Let PyTorch and the BLAS libraries compute with ``number`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)
