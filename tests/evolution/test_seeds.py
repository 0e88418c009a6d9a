from itertools import pairwise

import pytest

from miha.evolution.seeds import spread, stream, torch_seed


def test_a_stream_depends_on_seed_purpose_and_key_and_on_nothing_else():
    draws = [
        stream(*name).random()
        for name in [
            (1, "mutation", 2, 3),
            (1, "mutation", 2, 3),
            (2, "mutation", 2, 3),
            (1, "order", 2, 3),
            (1, "mutation", 3, 2),
        ]
    ]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 4


def test_torch_seeds_fit_into_a_signed_integer():
    seeds = [torch_seed(seed, "order", epoch) for seed in range(50) for epoch in range(4)]
    assert len(set(seeds)) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("first", [0, 5, 100])
def test_spread_numbers_fill_the_range_evenly_wherever_one_begins(first):
    numbers = sorted(spread(3, "mutation", first + index) for index in range(13))
    assert all(0 <= number < 1 for number in numbers)
    gaps = [after - before for before, after in pairwise([*numbers, numbers[0] + 1])]
    assert max(gaps) < 1 / 9
    assert spread(3, "mutation", first) != spread(4, "mutation", first)
