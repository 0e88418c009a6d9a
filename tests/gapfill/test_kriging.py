import numpy as np
import pytest
import torch

from miha.gapfill import kriging
from miha.gapfill.intervals import NORMAL
from miha.gapfill.kriging import START, Field, fill_by_kriging, krige
from tests.gapfill.test_fitting import scene_of


def fill(scene):
    return fill_by_kriging(scene, np.random.default_rng(0))


@pytest.fixture
def scene():
    scene = scene_of(8, 30)
    scene[12:32, 20:44] = np.nan
    scene[:5, :9] = np.nan
    return scene


@pytest.fixture
def field():
    numbers = {name: torch.tensor(value) for name, value in START.items()}
    return Field(numbers, torch.tensor([[1.2, 0.3], [0.3, 0.9]]), 32.0)


def test_kriging_on_the_grid_is_the_dense_solution(scene, field, monkeypatch):
    monkeypatch.setattr(kriging, "CLOSE", 1e-7)
    scene = scene[8:32, 10:40]
    visible = ~np.isnan(scene)
    values = np.nan_to_num(scene).astype(np.float64)
    places = np.moveaxis(np.indices(scene.shape), 0, -1)
    points = torch.from_numpy(np.concatenate([places[visible], places[~visible]])).double()
    within, seen = field.between(points).numpy(), int(visible.sum())
    expected = within[seen:, :seen] @ np.linalg.solve(within[:seen, :seen], values[visible])
    assert np.abs(krige(values, visible, places, field)[~visible] - expected).max() < 1e-4


def test_the_deviation_of_a_small_scene_is_the_dense_one(scene, field, monkeypatch):
    monkeypatch.setattr(kriging, "NEIGHBOURS", scene.size)
    visible, places = ~np.isnan(scene[:12, :14]), np.moveaxis(np.indices((12, 14)), 0, -1)
    points = torch.from_numpy(np.concatenate([places[visible], places[~visible]])).double()
    within, seen = field.between(points).numpy(), int(visible.sum())
    towards = within[:seen, seen:]
    values = np.random.default_rng(0).normal(size=seen)
    means = towards.T @ np.linalg.solve(within[:seen, :seen], values)
    expected = np.diag(within)[seen:] - (towards * np.linalg.solve(within[:seen, :seen], towards)).sum(axis=0)
    nearest = kriging._Nearest(places[visible], values, field)
    found, variances = nearest.at(places[~visible])
    assert np.allclose(variances, expected, rtol=1e-3)
    assert np.allclose(found, means, atol=1e-3)


def test_visible_pixels_stay_bit_for_bit_and_are_sure(scene):
    filled, seen = fill(scene), ~np.isnan(scene)
    assert filled.mean[seen].tobytes() == scene[seen].tobytes()
    assert (filled.std[seen] == 0).all()
    assert (filled.std[~seen] > 0).all()
    assert np.isfinite(filled.mean).all()
    assert (filled.mean.dtype, filled.std.dtype) == (np.float32, np.float32)


def test_structures_are_carried_into_the_gap_and_deviations_grow_with_distance(scene):
    truth, gap, filled = scene_of(8, 30), np.isnan(scene), fill(scene)
    mean = np.full_like(truth, np.nanmean(scene))
    assert np.abs(filled.mean - truth)[gap].mean() < 0.75 * np.abs(mean - truth)[gap].mean()
    assert filled.std[22, 32] > filled.std[12, 32]


@pytest.mark.slow
def test_tiles_give_what_the_whole_scene_gives(scene, monkeypatch):
    whole = fill(scene)
    monkeypatch.setattr(kriging, "CLOSE", 1e-5)
    exact = fill(scene)
    monkeypatch.setattr(kriging, "TILE", 16)
    monkeypatch.setattr(kriging, "MARGIN", 32)
    tiled, spread = fill(scene), np.nanstd(scene)
    assert np.abs(tiled.mean - exact.mean).max() < 0.02 * spread
    assert np.abs(whole.mean - exact.mean).max() < 0.02 * spread
    assert np.array_equal(tiled.std, whole.std)


def test_a_tile_with_nothing_visible_near_it_looks_further(scene, monkeypatch):
    monkeypatch.setattr(kriging, "TILE", 4)
    monkeypatch.setattr(kriging, "MARGIN", 1)
    assert np.isfinite(fill(scene).mean).all()


@pytest.mark.parametrize("value", [0.0, 280.0])
def test_a_constant_scene_and_a_single_pixel_are_carried_on(value):
    constant = np.full((20, 30), value, np.float32)
    constant[5:12, 3:20] = np.nan
    single = np.full((9, 7), np.nan, np.float32)
    single[4, 2] = value
    for scene in (constant, single):
        filled = fill(scene)
        assert np.allclose(filled.mean, value, atol=1e-3)
        assert (filled.std[np.isnan(scene)] > 0).all()


def test_equal_seeds_give_equal_bits(scene):
    assert fill(scene).mean.tobytes() == fill(scene).mean.tobytes()


def test_deviations_are_calibrated_by_visible_pixels_whatever_the_variances_of_the_field(scene, monkeypatch):
    once, fit, gap = fill(scene), Field.fit, np.isnan(scene)

    def unsure(*known):
        field = fit(*known)
        return Field(
            {n: v if "length" in n else 4 * v for n, v in field.numbers.items()}, field.stretching, field.scale
        )

    monkeypatch.setattr(Field, "fit", unsure)
    again = fill(scene)
    assert np.allclose(again.std[gap], once.std[gap], rtol=0.02)
    assert again.intervals == pytest.approx(once.intervals, rel=0.05)
    assert once.intervals is not NORMAL


def test_few_visible_pixels_do_not_calibrate(scene):
    assert fill(scene[:24]).intervals is NORMAL
