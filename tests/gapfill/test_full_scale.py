import numpy as np

from miha.gapfill.full_scale import BLOCK, _blocks


def test_each_place_is_in_the_square_around_it_and_in_no_other():
    places = np.stack(np.divmod(np.random.default_rng(0).permutation(35 * 50)[:900], 50), axis=1).astype(np.float32)
    blocks, counts, middles = _blocks(places)
    for members, count, middle in zip(blocks.numpy(), counts, middles, strict=True):
        assert np.abs(places[members] - middle).max() < BLOCK / 2
        assert len(np.unique(members)) == len(np.unique(members[:count])) == count
    first = np.repeat(np.arange(len(blocks)), blocks.shape[1])
    assert len(np.unique(np.stack([first, blocks.numpy().ravel()]), axis=1).T) == len(places)
    assert np.array_equal(np.unique(blocks), np.arange(len(places)))
    assert (np.diff(counts) >= 0).all()


def test_no_place_makes_no_square():
    blocks, counts, middles = _blocks(np.empty((0, 2), np.float32))
    assert len(blocks) == len(counts) == len(middles) == 0
