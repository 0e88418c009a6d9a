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
def scene():
    """A gap in the middle of 40 x 40 pixels."""
    values = np.zeros((40, 40), np.float32)
    values[15:25, 15:25] = np.nan
    return values


def test_all_visible_pixels_are_taken_where_there_are_few(scene):
    taken = along_gaps(scene, 5000, np.random.default_rng(0))
    assert sorted(taken) == np.flatnonzero(~np.isnan(scene)).tolist()


def test_what_is_along_the_gap_is_taken_first_and_some_from_everywhere(scene):
    taken = along_gaps(scene, 200, np.random.default_rng(0))
    assert len(np.unique(taken)) == 200
    assert not np.isnan(scene.flat[taken]).any()
    rows, columns = np.unravel_index(taken, scene.shape)
    down, right = abs(rows - 19.5), abs(columns - 19.5)
    beside = (np.maximum(down, right) == 5.5) & (np.minimum(down, right) < 5)
    assert beside.sum() == 40  # every pixel that shares an edge with the gap
    assert (np.hypot(rows - 19.5, columns - 19.5) > 15).sum() > 20
