from miha.evolution.seeds import stream, torch_seed


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
