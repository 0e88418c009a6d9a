import numpy as np
import pytest

from miha.gapfill.eof.spread import REACH, STEP, Cells, enlarged, spread_out


@pytest.fixture
def left():
    values = np.random.default_rng(0).standard_normal((61, 83)).astype(np.float32) + 3
    values[20:45, 10:70] = np.nan
    return values


def whole(values):
    return slice(0, values.shape[0]), slice(0, values.shape[1])


def test_what_is_left_reaches_into_the_gap_and_fades(left):
    cells = Cells(left.shape)
    cells.add(whole(left), left)
    found = spread_out(left, whole(left), cells.spread())
    assert found.mean[20, 40] == pytest.approx(3, abs=0.7)
    assert (np.diff(found.unknown[20:30, 40]) > 0).all()
    lone = np.full((300, 300), np.nan, np.float32)
    lone[:3, :3] = 5
    cells = Cells(lone.shape)
    cells.add(whole(lone), lone)
    far = spread_out(lone, whole(lone), cells.spread())
    assert abs(far.mean[299, 299]) < 1e-3
    assert far.unknown[299, 299] > 0.99


def test_a_window_gets_what_the_whole_scene_would(left):
    once, parts = Cells(left.shape), Cells(left.shape)
    once.add(whole(left), left)
    for top in range(0, 61, 4 * STEP):
        for start in range(0, 83, 5 * STEP):
            where = slice(top, min(top + 4 * STEP, 61)), slice(start, min(start + 5 * STEP, 83))
            parts.add(where, left[where])
    assert np.allclose(once.sums, parts.sums, atol=1e-4)
    coarse = once.spread()
    outer = slice(15, 50), slice(30, 60)
    part = spread_out(left[outer], outer, coarse).mean[REACH:-REACH, REACH:-REACH]
    inner = slice(15 + REACH, 50 - REACH), slice(30 + REACH, 60 - REACH)
    assert np.allclose(part, spread_out(left, whole(left), coarse).mean[inner], atol=1e-5)


def test_cells_are_interpolated_between_their_middles():
    cells = np.arange(5, dtype=np.float32)[None, None] * np.ones((1, 3, 1), np.float32)
    row = enlarged(cells, (slice(0, 3 * STEP), slice(0, 5 * STEP)))[0, 4]
    assert row[STEP // 2 : -STEP // 2] == pytest.approx((np.arange(2, 18) + 0.5) / STEP - 0.5)
