"""Samples in memory, and how they are handed out in batches."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK_BYTES = 32 * 2**20  # gather shuffled samples in pieces of about this size


class Batch(NamedTuple):
    """Some samples: inputs (n, …), targets (n, …), and for rasters which target pixels count (n, height, width)."""

    inputs: Tensor
    target: Tensor
    mask: Tensor | None = None


class Samples:
    """Samples held in memory (or mapped from a file), handed out in batches.

    A shuffled epoch is gathered in large pieces and then split, which is many times as fast as gathering sample by
    sample, and needs little memory beside the samples.
    """

    def __init__(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        self.tensors = Batch(inputs, target, mask)

    def __len__(self) -> int:
        return len(self.tensors.inputs)

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """Yield batches of ``size`` samples (the last may be shorter), in the given order of indices."""
        if order is None:
            yield from _split(self.tensors, size)
            return
        per_sample = sum(part[0].nbytes for part in self.tensors if part is not None)
        batches_at_once = max(1, _CHUNK_BYTES // (per_sample * size))
        for piece in order.split(batches_at_once * size):
            inputs, target, mask = self.tensors
            gathered = Batch(
                inputs.index_select(0, piece),
                target.index_select(0, piece),
                None if mask is None else mask.index_select(0, piece),
            )
            yield from _split(gathered, size)


def _split(batch: Batch, size: int) -> Iterator[Batch]:
    inputs, targets = batch.inputs.split(size), batch.target.split(size)
    if batch.mask is None:
        yield from map(Batch, inputs, targets)
    else:
        yield from map(Batch, inputs, targets, batch.mask.split(size))


class Data(NamedTuple):
    """The two splits that training sees; the metric times ``unit`` is in the data's own unit."""

    train: Samples
    valid: Samples
    unit: float = 1.0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input sample."""
        return tuple(self.train.tensors.inputs.shape[1:])


def correct(output: Tensor, batch: Batch) -> Tensor:
    """How many samples of a batch the largest output classifies right."""
    return (output.argmax(dim=1) == batch.target).sum(dtype=torch.float32)
