"""Samples in memory, and how they are handed out in batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from miha.errors import ConfigError

BLOCKS = 20  # of samples that say nothing of how they belong together
_CHUNK_BYTES = 32 * 2**20  # gather shuffled samples in pieces of about this size


class Batch(NamedTuple):
    """Some samples: inputs (n, …), targets (n, …), and for rasters which target pixels count (n, height, width).

    Inputs and targets are tensors, or tuples, lists and dictionaries of tensors with one row a sample.
    """

    inputs: Any
    target: Any
    mask: Tensor | None = None


def map_tensors(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """The same tuples, lists and dictionaries with ``function(tensor)`` in place of each tensor."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        parts = [map_tensors(part, function) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [map_tensors(part, function) for part in value]
    if isinstance(value, dict):
        return {key: map_tensors(part, function) for key, part in value.items()}
    return value


class SampleSource(ABC):
    """Where batches come from: :class:`Samples` in memory, or a data set that is read sample by sample.

    Attributes:
        blocks: sizes of successive blocks of samples, see :class:`Samples`.
        input_shape: shape of one input sample; () where it is more than one tensor.
        sample_bytes: of the inputs of one sample.
    """

    blocks: Sequence[int]
    input_shape: tuple[int, ...]
    sample_bytes: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Batch]:
        """Yield batches of about ``size`` samples, in the given order of indices.

        Args:
            size: samples of a batch, but for the last, see :func:`batch_sizes`.
            order: of all samples; None: their own.
            seed: of whatever is random in reading them.
        """

    @abstractmethod
    def by_block(self, size: int) -> Iterator[tuple[int, Batch]]:
        """Yield all samples in their order: the number of a block, and a batch of it of at most ``size`` samples."""


def batch_sizes(samples: int, size: int) -> list[int]:
    """Sizes of the batches of an epoch. The last may have fewer samples.

    A single one, of which batch normalisation can make nothing, joins the batch before.
    """
    whole, rest = divmod(samples, size)
    sizes = [size] * whole
    if rest == 1 and whole:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def equal_blocks(samples: int) -> list[int]:
    """Sizes of BLOCKS blocks of about equal size."""
    return [len(part) for part in torch.arange(samples).tensor_split(max(1, min(BLOCKS, samples)))]


class Samples(SampleSource):
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
        self.input_shape = tuple(inputs.shape[1:])
        self.sample_bytes = inputs[0].nbytes if len(inputs) else 0
        self.blocks = blocks or equal_blocks(len(inputs))
        if sum(self.blocks) != len(inputs):
            raise ConfigError(
                f"blocks of {sum(self.blocks)} samples are given for {len(inputs)}. Give a size for each."
            )

    def __len__(self) -> int:
        return len(self.tensors.inputs)

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Batch]:
        sizes = batch_sizes(len(self), size)
        if order is None:
            yield from _split(self.tensors, sizes)
            return
        per_sample = sum(part[0].nbytes for part in self.tensors if part is not None)
        batches_at_once = max(1, _CHUNK_BYTES // (per_sample * size))
        groups = [sizes[first : first + batches_at_once] for first in range(0, len(sizes), batches_at_once)]
        for group, piece in zip(groups, order.split([sum(group) for group in groups]), strict=True):
            inputs, target, mask = self.tensors
            gathered = Batch(
                inputs.index_select(0, piece),
                target.index_select(0, piece),
                None if mask is None else mask.index_select(0, piece),
            )
            yield from _split(gathered, group)

    def by_block(self, size: int) -> Iterator[tuple[int, Batch]]:
        inputs, target, mask = self.tensors
        for number, (start, end) in enumerate(pairwise(accumulate(self.blocks, initial=0))):
            block = Batch(inputs[start:end], target[start:end], None if mask is None else mask[start:end])
            for batch in _split(block, size):
                yield number, batch


def _split(batch: Batch, sizes: int | list[int]) -> Iterator[Batch]:
    inputs, targets = batch.inputs.split(sizes), batch.target.split(sizes)
    if batch.mask is None:
        yield from map(Batch, inputs, targets)
    else:
        yield from map(Batch, inputs, targets, batch.mask.split(sizes))


def pieces(batch: Batch, size: int | None) -> list[Batch]:
    """The batch in pieces of at most ``size`` samples; whole if None."""
    n = count(batch)
    if size is None or n <= size:
        return [batch]
    parts = [slice(start, start + size) for start in range(0, n, size)]
    return [map_tensors(batch, itemgetter(part)) for part in parts]


def count(batch: Batch) -> int:
    """How many samples a batch has: rows of its first tensor."""
    rows: list[int] = []
    map_tensors(batch, lambda tensor: rows.append(len(tensor)))
    return rows[0]


class Data(NamedTuple):
    """The two splits that training sees; the metric times ``unit`` is in the data's own unit."""

    train: SampleSource
    valid: SampleSource
    unit: float = 1.0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input sample."""
        return self.train.input_shape


def correct(output: Tensor, batch: Batch) -> Tensor:
    """How many samples of a batch the largest output classifies right."""
    right: Tensor = output.argmax(dim=1) == batch.target
    return right.sum(dtype=torch.float32)
