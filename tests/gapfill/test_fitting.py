import numpy as np
import pytest
import torch

from miha.gapfill.features import Features
from miha.gapfill.fitting import FROM, fit_to_scene, stretching
from miha.gapfill.kernel import LEARNED
from miha.gapfill.predictors import Background, Static
from miha.gapfill.process import fill_by_process


def scene_of(across, along, seed=0):
    """Waves (48, 64) of random directions, shorter across rows than along them by ``across / along``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((48, 64))
    waves = [
        np.sin(2 * np.pi * (np.cos(turn) * rows / across + np.sin(turn) * columns / along) + phase)
        for turn, phase in zip(rng.uniform(0, np.pi, 12), rng.uniform(0, 7, 12), strict=True)
    ]
    return (np.sum(waves, axis=0) + rng.normal(0, 0.05, rows.shape)).astype(np.float32)


def features_of(scene):
    return Features.of(Background.none(scene), Static.none(scene.shape))


def fitted(scene, seed=0):
    rng = np.random.default_rng(seed)
    visible = rng.permutation(np.flatnonzero(~np.isnan(scene)))
    values = torch.from_numpy(((scene.ravel() - scene.mean()) / scene.std())[visible].astype(np.float64))
    return fit_to_scene(features_of(scene), torch.from_numpy(visible), values, rng)


def test_pure_noise_is_distinguished_from_structure():
    noise, _ = fitted(np.random.default_rng(0).standard_normal((48, 64)).astype(np.float32))
    smooth, _ = fitted(scene_of(15, 15))
    assert noise.noise > 4 * LEARNED.noise
    assert smooth.noise < LEARNED.noise


def test_structures_along_one_axis_are_stretched_across_it():
    _, by = fitted(scene_of(8, 30))
    assert by[0, 0] > 1.2 * by[1, 1]
    _, turned = fitted(np.ascontiguousarray(scene_of(8, 30).T))
    assert turned[1, 1] > 1.2 * turned[0, 0]


@pytest.mark.parametrize("pull", [(0.0, 0.0), (0.3, 0.0), (0.2, -0.5)])
def test_a_stretching_keeps_areas_and_has_the_pull_as_its_logarithm(pull):
    by = stretching(torch.tensor(pull))
    assert float(torch.linalg.det(by)) == pytest.approx(1, abs=1e-5)
    expected = torch.matrix_exp(torch.tensor([[pull[0], pull[1]], [pull[1], -pull[0]]]))
    assert torch.allclose(by, expected, atol=1e-5)


def test_too_few_pixels_teach_nothing():
    kernel, by = fitted(scene_of(15, 15)[:5, : FROM // 5])
    assert kernel == LEARNED
    assert torch.equal(by, torch.eye(2))


def test_equal_draws_teach_the_same():
    one, other = (fitted(scene_of(10, 20), seed=3) for _ in range(2))
    assert one[0] == other[0]
    assert torch.equal(one[1], other[1])


def test_numbers_of_terms_that_the_scene_lacks_stay():
    kernel, _ = fitted(scene_of(10, 20))
    assert kernel.days == pytest.approx(LEARNED.days)
    assert kernel.smooth == pytest.approx(LEARNED.smooth)
    assert kernel.broad != pytest.approx(LEARNED.broad)


def test_a_fitted_scene_is_filled_better_than_by_the_learned_numbers(monkeypatch):
    truth = scene_of(8, 30)
    scene = truth.copy()
    scene[12:32, 20:44] = np.nan
    gap, background = np.isnan(scene), Background.none(scene)

    def error():
        filled = fill_by_process(scene, background, features_of(scene), np.random.default_rng(0))
        return np.abs(filled.mean - truth)[gap].mean()

    fitting = error()
    monkeypatch.setattr("miha.gapfill.process.fit_to_scene", lambda *_: (LEARNED, torch.eye(2)))
    assert fitting < 0.9 * error()
