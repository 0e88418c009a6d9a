import numpy as np
import pytest

from miha.gapfill.neighbours import along_gaps, earlier_neighbours


def test_neighbours_come_earlier_and_are_the_nearest_there():
    positions = np.random.default_rng(0).random((40, 2)).astype(np.float32)
    near = earlier_neighbours(positions, 5)
    assert (near < np.arange(40)[:, None]).all()
    assert (near[0] == -1).all()
    for point in (16, 32):  # first of a block: all before it were looked through
        distance = np.linalg.norm(positions[:point] - positions[point], axis=1)
        assert set(near[point]) == set(np.argsort(distance)[:5])


@pytest.fixture
def visible():
    """All around a gap in the middle of 40 x 40 pixels."""
    values = np.ones((40, 40), bool)
    values[15:25, 15:25] = False
    return np.flatnonzero(values)


def test_all_visible_pixels_are_taken_where_there_are_few(visible):
    assert sorted(along_gaps(visible, (40, 40), 5000, np.random.default_rng(0))) == visible.tolist()


def test_half_of_those_taken_lie_along_the_gap_and_half_anywhere(visible):
    taken = along_gaps(visible, (40, 40), 200, np.random.default_rng(0))
    assert len(np.unique(taken)) == 200
    assert np.isin(taken, visible).all()
    rows, columns = np.unravel_index(taken, (40, 40))
    down, right = abs(rows - 19.5), abs(columns - 19.5)
    beside = (np.maximum(down, right) == 5.5) & (np.minimum(down, right) < 5)
    assert beside.sum() == 40  # every pixel that shares an edge with the gap
    assert (np.hypot(rows - 19.5, columns - 19.5) > 15).sum() > 20
