import numpy as np

from miha.gapfill.neighbours import earlier_neighbours


def test_neighbours_come_earlier_and_are_the_nearest_there():
    positions = np.random.default_rng(0).random((40, 2)).astype(np.float32)
    near = earlier_neighbours(positions, 5)
    assert (near < np.arange(40)[:, None]).all()
    assert (near[0] == -1).all()
    for point in (16, 32):  # first of a block: all before it were looked through
        distance = np.linalg.norm(positions[:point] - positions[point], axis=1)
        assert set(near[point]) == set(np.argsort(distance)[:5])
