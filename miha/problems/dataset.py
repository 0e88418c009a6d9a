"""Samples that a map-style ``torch.utils.data.Dataset`` gives one by one: as many as disks hold, not memory."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from miha.errors import DataError
from miha.problems.samples import Batch, SampleSource, batch_sizes, equal_blocks, map_tensors
from miha.sockets import socket_folder

PROBES = 64  # samples that tell whether a data set is another one


class Arguments(NamedTuple):
    """What a network is called with: by position and by name."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A data set, how its samples become a batch, and how many processes read it.

    Attributes:
        dataset: map-style; of one index it gives one sample.
        collate: of a list of samples it makes a batch.
        processes: that read ahead; 0: who trains reads. They change no bit.
        target: key of the target in batches that are dictionaries.
    """

    dataset: Any
    collate: Callable[[list[Any]], Any] = default_collate
    processes: int = 0
    target: str = "target"

    @classmethod
    def of(cls, name: str, data: "Dataset[Any] | DataLoader[Any]", target: str) -> "Source":
        """What a ``Dataset`` or ``DataLoader`` reads. Order and batch size are MIHA's own.

        Raises:
            DataError: no map-style data set, an empty one, or one whose order is its loader's own.
        """
        source = cls(data, target=target)
        if isinstance(data, DataLoader):
            if not isinstance(data.dataset, IterableDataset):  # which is refused below
                _refuse_own_batches(name, data)
            source = cls(data.dataset, data.collate_fn, data.num_workers, target)
        if isinstance(source.dataset, pd.DataFrame | pd.Series):
            raise DataError(
                f"{name}: {type(source.dataset).__name__} gives no sample by its number. Make tensors of its columns: "
                "TensorDataset(torch.tensor(x.to_numpy(), dtype=torch.float32), torch.tensor(y.to_numpy()))."
            )
        if isinstance(source.dataset, IterableDataset | Mapping | str) or not hasattr(source.dataset, "__getitem__"):
            raise DataError(
                f"{name}: {type(source.dataset).__name__} gives no sample by its number. Make it a map-style "
                "torch.utils.data.Dataset, with __getitem__ and __len__."
            )
        if not hasattr(source.dataset, "__len__") or len(source.dataset) == 0:
            raise DataError(f"{name}: {type(source.dataset).__name__} has no samples, or no __len__.")
        return source

    def read(self, indices: Sequence[int], seed: int) -> Batch:
        """The batch of some samples; whatever is random in reading one depends on ``seed`` and its index alone.

        Raises:
            DataError: the batch has no target.
        """
        if type(self.dataset) is TensorDataset and self.collate is default_collate:
            wanted = torch.as_tensor(indices)
            return self.batch([tensor[wanted] for tensor in self.dataset.tensors])
        samples = []
        with _generators_kept():
            for index in indices:
                _seed_generators(seed + index)
                samples.append(self.dataset[index])
            return self.batch(self.collate(samples))

    def batch(self, collated: Any) -> Batch:
        """Split what ``collate`` gave into the network's arguments and the target."""
        if isinstance(collated, dict):
            if self.target not in collated:
                raise DataError(
                    f"a batch is a dictionary of {', '.join(map(repr, collated))}, and none of these is the target "
                    f"{self.target!r}. Say which one is: target=…"
                )
            named = {key: value for key, value in collated.items() if key != self.target}
            return Batch(Arguments((), named), collated[self.target])
        if not isinstance(collated, tuple | list) or len(collated) < 2:
            found = f"a {type(collated).__name__} of one" if isinstance(collated, tuple | list) else "one thing"
            raise DataError(
                f"a batch is {found}, but has to hold what the network takes and the target. Let each sample be "
                "(input, target), (input, another input, target), or a dictionary; an autoencoder's is (x, x)."
            )
        *inputs, target = collated
        return Batch(Arguments(tuple(inputs), {}), target)

    def fingerprint(self) -> list[Any]:
        """Tells, by length and PROBES samples, whether the data are as they were."""
        n = len(self.dataset)
        probes = sorted({round(place) for place in np.linspace(0, n - 1, min(PROBES, n))})
        return [n, [digest(self.read([index], 0)) for index in probes]]


def _refuse_own_batches(name: str, loader: "DataLoader[Any]") -> None:
    if loader.batch_sampler is None:
        raise DataError(
            f"{name}: the DataLoader makes no batches (batch_size=None), but MIHA makes them of samples. Give it a "
            "batch_size, and a data set of single samples."
        )
    usual = isinstance(loader.sampler, RandomSampler | SequentialSampler)
    if not (usual and isinstance(loader.batch_sampler, BatchSampler)):
        raise DataError(
            f"{name}: the DataLoader has a sampler of its own ({type(loader.sampler).__name__}), but MIHA orders the "
            "samples itself. Leave sampler and batch_sampler out, and weigh samples in the loss."
        )


def digest(value: Any) -> str:
    """SHA-256 (hex) of tensors in tuples, lists and dictionaries, and of whatever else can be pickled."""
    state = hashlib.sha256()

    def add(tensor: Tensor) -> str:
        array = tensor.detach().cpu().contiguous()
        state.update(f"{array.dtype} {tuple(array.shape)}".encode())
        state.update(array.flatten().view(torch.uint8).numpy().tobytes() if array.numel() else b"")
        return ""

    rest = map_tensors(value, add)
    state.update(repr(rest).encode() if _plain(rest) else cloudpickle.dumps(rest))
    return state.hexdigest()


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float | bool)


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Put the global generators back after the block: those that transforms of samples draw from."""
    ours, numpys, pythons = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(ours)
        np.random.set_state(numpys)
        random.setstate(pythons)


def _seed_generators(seed: int) -> None:
    torch.default_generator.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class _Batches(Dataset[Batch]):
    """A data set whose samples are whole batches; processes that read ahead are given it."""

    def __init__(self, source: Source, parts: Sequence[Sequence[int]], seed: int) -> None:
        self.source, self.parts, self.seed = source, parts, seed

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> Batch:
        return self.source.read(self.parts[number], self.seed)

    def __reduce__(self) -> Any:  # where processes are not forked, functions of a notebook reach them so
        return _unpickled, (cloudpickle.dumps((self.source, self.parts, self.seed)),)


def _unpickled(pickled: bytes) -> _Batches:
    return _Batches(*cloudpickle.loads(pickled))


class DatasetSamples(SampleSource):
    """The samples of a :class:`Source`.

    A last batch of one sample goes with the batch before: batch normalisation has no variance of one.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.blocks = equal_blocks(len(source.dataset))
        inputs = source.read([0], 0).inputs
        tensors: list[Tensor] = []
        map_tensors(inputs, tensors.append)
        single = len(tensors) == 1 and len(inputs.positional) == 1 and tensors[0] is inputs.positional[0]
        self.input_shape = tuple(tensors[0].shape[1:]) if single else ()
        self.sample_bytes = sum(tensor.nbytes for tensor in tensors)

    def __len__(self) -> int:
        return len(self.source.dataset)

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0) -> Iterator[Batch]:
        indices = torch.arange(len(self)) if order is None else order
        yield from self._read([part.tolist() for part in indices.split(batch_sizes(len(self), size))], seed)

    def by_block(self, size: int) -> Iterator[tuple[int, Batch]]:
        parts = [
            (number, range(first, min(first + size, end)))
            for number, (start, end) in enumerate(pairwise(accumulate(self.blocks, initial=0)))
            for first in range(start, end, size)
        ]
        for (number, _), batch in zip(parts, self._read([part for _, part in parts], 0), strict=True):
            yield number, batch

    def _read(self, parts: Sequence[Sequence[int]], seed: int) -> Iterator[Batch]:
        batches = _Batches(self.source, parts, seed)
        if self.source.processes == 0:
            return (batches[number] for number in range(len(batches)))
        socket_folder()  # by whose sockets tensors come
        return iter(
            DataLoader(
                batches,
                batch_size=None,
                collate_fn=_same,
                num_workers=self.source.processes,
                generator=torch.Generator(),  # else it would draw from the one that dropout draws from
            )
        )


def _same(batch: Any) -> Any:
    return batch
