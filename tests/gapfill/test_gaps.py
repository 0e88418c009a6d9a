import numpy as np
import pytest

from miha.gapfill.gaps import LARGEST, SMALLEST, Gaps, blob, spread_sizes

SHAPE = (40, 50)


@pytest.mark.parametrize("first", [0, 7, 100])
@pytest.mark.parametrize("number", [8, 60])
def test_sizes_of_successive_gaps_are_spread_evenly_wherever_one_begins(first, number):
    sizes = [spread_sizes(one, 0.05, 0.95) for one in range(first, first + number)]
    assert min(sizes) >= 0.05
    assert max(sizes) < 0.95
    assert np.allclose(np.histogram(sizes, 4, (0.05, 0.95))[0], number / 4, atol=1)


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5, 0.9, 0.97])
def test_a_blob_covers_the_fraction_asked_for(fraction):
    assert blob(fraction, SHAPE, np.random.default_rng(0)).mean() == pytest.approx(fraction, abs=1e-3)


def test_a_blob_is_smooth():
    mask = blob(0.3, SHAPE, np.random.default_rng(0))
    borders = (mask[1:] != mask[:-1]).mean() + (mask[:, 1:] != mask[:, :-1]).mean()
    assert borders < 0.15


def test_only_masks_of_useful_size_are_kept():
    values = np.zeros((4, *SHAPE), np.float32)
    values[1, :8] = np.nan
    values[2] = np.nan
    values[3, 0, :2] = np.nan
    gaps = Gaps.of(values)
    assert gaps.masks.mean(axis=(1, 2)).tolist() == [0.2]
    assert SMALLEST < 0.2 < LARGEST


def test_real_masks_of_about_the_size_are_drawn_half_of_the_time_and_mirrored():
    values = np.zeros((1, *SHAPE), np.float32)
    values[0, :8] = np.nan
    gaps, rng = Gaps.of(values), np.random.default_rng(0)
    real = np.isnan(values[0])
    draws = [gaps.draw(0.25, SHAPE, rng) for _ in range(200)]
    upright = sum(np.array_equal(draw, real) for draw in draws)
    mirrored = sum(np.array_equal(draw, real[::-1]) for draw in draws)
    assert 70 < upright + mirrored < 130
    assert min(upright, mirrored) > 20


def test_for_sizes_that_no_day_has_blobs_are_drawn():
    values = np.zeros((1, *SHAPE), np.float32)
    values[0, :8] = np.nan
    gaps, rng = Gaps.of(values), np.random.default_rng(0)
    assert all(gaps.draw(0.7, SHAPE, rng).mean() == pytest.approx(0.7, abs=1e-3) for _ in range(20))
