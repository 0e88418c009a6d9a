"""Samples in memory, and how they are handed out in batches."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from miha.errors import ConfigError

BLOCKS = 20  # of samples that say nothing of how they belong together
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

    Args:
        inputs: (n, …).
        target: (n, …).
        mask: (n, height, width), for rasters.
        blocks: sizes of successive blocks whose samples are not independent of each other (gaps of one day): how far
            their losses differ tells how far to trust the mean. By default BLOCKS of about equal size.
    """

    def __init__(
        self, inputs: Tensor, target: Tensor, mask: Tensor | None = None, blocks: Sequence[int] | None = None
    ) -> None:
        self.tensors = Batch(inputs, target, mask)
        number = max(1, min(BLOCKS, len(inputs)))
        self.blocks = blocks or [len(part) for part in torch.arange(len(inputs)).tensor_split(number)]
        if sum(self.blocks) != len(inputs):
            raise ConfigError(
                f"blocks of {sum(self.blocks)} samples are given for {len(inputs)}. Give a size for each."
            )

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

    def by_block(self, size: int) -> Iterator[tuple[int, Batch]]:
        """Yield all samples in their order: the number of a block, and a batch of it of at most ``size`` samples."""
        inputs, target, mask = self.tensors
        for number, (start, end) in enumerate(pairwise(accumulate(self.blocks, initial=0))):
            block = Batch(inputs[start:end], target[start:end], None if mask is None else mask[start:end])
            for batch in _split(block, size):
                yield number, batch


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
