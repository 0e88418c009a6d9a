import numpy as np
import pytest
import torch

from miha.gapfill.fitting import FROM, fit_to_scene, stretching
from miha.gapfill.kriging import START, Field


def scene_of(across, along, seed=0):
    """Waves (48, 64) of random directions, shorter across rows than along them by ``across / along``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((48, 64))
    waves = [
        np.sin(2 * np.pi * (np.cos(turn) * rows / across + np.sin(turn) * columns / along) + phase)
        for turn, phase in zip(rng.uniform(0, np.pi, 12), rng.uniform(0, 7, 12), strict=True)
    ]
    return (np.sum(waves, axis=0) + rng.normal(0, 0.05, rows.shape)).astype(np.float32)


def fitted(scene, seed=0):
    values = ((scene - scene.mean()) / scene.std()).astype(np.float64).ravel()
    places = np.stack(np.indices(scene.shape), axis=-1).reshape(-1, 2)
    return Field.fit(places, values, 32, np.random.default_rng(seed))


def test_pure_noise_is_told_from_structure():
    noise = fitted(np.random.default_rng(0).standard_normal((48, 64)).astype(np.float32))
    assert noise.numbers["noise"] + noise.numbers["near"] > 0.5
    assert fitted(scene_of(15, 15)).numbers["noise"] < START["noise"]


def test_structures_along_one_axis_are_stretched_across_it():
    by = fitted(scene_of(8, 30)).stretching
    assert by[0, 0] > 1.2 * by[1, 1]
    turned = fitted(np.ascontiguousarray(scene_of(8, 30).T)).stretching
    assert turned[1, 1] > 1.2 * turned[0, 0]


@pytest.mark.parametrize("pull", [(0.0, 0.0), (0.3, 0.0), (0.2, -0.5)])
def test_a_stretching_keeps_areas_and_has_the_pull_as_its_logarithm(pull):
    by = stretching(torch.tensor(pull))
    assert float(torch.linalg.det(by)) == pytest.approx(1, abs=1e-5)
    expected = torch.matrix_exp(torch.tensor([[pull[0], pull[1]], [pull[1], -pull[0]]]))
    assert torch.allclose(by, expected, atol=1e-5)


def test_too_few_pixels_teach_nothing():
    field = fitted(scene_of(15, 15)[:5, : FROM // 5])
    assert {name: float(value) for name, value in field.numbers.items()} == pytest.approx(START)
    assert torch.equal(field.stretching, torch.eye(2))


def test_equal_draws_teach_the_same():
    one, other = (fitted(scene_of(10, 20), seed=3) for _ in range(2))
    assert one.numbers == other.numbers
    assert torch.equal(one.stretching, other.stretching)


def test_numbers_of_terms_that_the_scene_lacks_stay():
    places = np.stack(np.indices((20, 20)), axis=-1).reshape(-1, 2)
    values = torch.from_numpy(np.random.default_rng(0).standard_normal(len(places)))

    def covariance(numbers, by, sets):
        return (numbers["spread"] + 0 * by.sum()) * torch.eye(sets.shape[1]).expand(*sets.shape, -1)

    numbers, _ = fit_to_scene({"spread": 3.0, "unused": 0.7}, covariance, places, values, np.random.default_rng(0))
    assert numbers["spread"] == pytest.approx(1, abs=0.2)
    assert numbers["unused"] == pytest.approx(0.7)
