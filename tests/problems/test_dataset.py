"""Samples that are read one by one: each once, in MIHA's order, and random only by the seed."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from miha.errors import DataError
from miha.problems.dataset import DatasetSamples, Source, digest


class Noisy(Dataset):
    """Sample ``i`` is ``i``, and a number from each generator that a transform may draw from."""

    def __init__(self, n=10):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        drawn = [torch.rand(()).item(), np.random.rand(), random.random()]
        return torch.tensor([index, *drawn]), index


def rows(samples, size=3, order=None, seed=0):
    return torch.cat([batch.inputs.positional[0] for batch in samples.batches(size, order, seed)])


@pytest.fixture
def noisy():
    return DatasetSamples(Source.of("train", Noisy(), "target"))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 99])
def test_every_sample_is_read_once_in_the_order_asked_for_and_no_batch_is_of_a_last_one(noisy, size):
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    batches = list(noisy.batches(size, order))
    assert torch.equal(torch.cat([batch.target for batch in batches]), order)
    assert size == 1 or all(len(batch.target) > 1 for batch in batches)


def test_what_is_random_in_a_sample_depends_on_seed_and_sample_alone(noisy):
    first = rows(noisy)
    order = torch.arange(10).flip(0)
    assert torch.equal(rows(noisy, size=7, order=order).flip(0), first)
    assert not (rows(noisy, seed=1)[:, 1:] == first[:, 1:]).any()
    assert len(first[:, 1:].unique()) == 30


def test_no_global_generator_is_moved(noisy):
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    rows(noisy)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_processes_that_read_ahead_change_nothing():
    loader = DataLoader(Noisy(), num_workers=2)
    source = Source.of("train", loader, "target")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(rows(DatasetSamples(source)), rows(DatasetSamples(Source(Noisy()))))
    assert torch.equal(torch.get_rng_state(), before)


def test_blocks_are_read_one_after_another(noisy):
    blocks = list(DatasetSamples(Source(Noisy(45))).by_block(2))
    assert torch.cat([batch.target for _, batch in blocks]).tolist() == list(range(45))
    assert [number for number, batch in blocks for _ in batch.target] == sorted(
        number for number, size in enumerate(DatasetSamples(Source(Noisy(45))).blocks) for _ in range(size)
    )


def test_the_shape_of_an_input_is_known_where_there_is_one():
    one = DatasetSamples(Source(TensorDataset(torch.zeros(5, 3, 2), torch.zeros(5))))
    two = DatasetSamples(Source(TensorDataset(torch.zeros(5, 3), torch.zeros(5, 2), torch.zeros(5))))
    assert (one.input_shape, one.sample_bytes) == ((3, 2), 24)
    assert (two.input_shape, two.sample_bytes) == ((), 20)


def test_a_dictionary_without_the_target_is_refused():
    source = Source([{"x": torch.zeros(1), "label": 1}])
    with pytest.raises(DataError, match=r"a dictionary of 'x', 'label', and none .* 'target'.*target=…"):
        source.read([0], 0)


def test_data_are_known_by_their_number_and_by_some_of_them():
    def of(tensor):
        return Source(TensorDataset(tensor, tensor)).fingerprint()

    tensor = torch.arange(200.0)[:, None]
    assert of(tensor) == of(tensor.clone())
    assert of(tensor) != of(tensor[:-1])
    assert of(tensor) != of(tensor + 1)
    assert of(tensor) != of(tensor.double())


def test_a_digest_tells_values_shapes_and_types_apart():
    values = [
        torch.zeros(2),
        torch.zeros(2, 1),
        torch.zeros(2).double(),
        torch.ones(2),
        {"a": torch.ones(2)},
        {"b": torch.ones(2)},
        [torch.ones(2), 1],
        [torch.ones(2), 2],
        np.zeros(2),
    ]
    assert len({digest(value) for value in values}) == len(values)
