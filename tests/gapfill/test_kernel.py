import numpy as np
import pytest
import torch

from miha.gapfill.features import Features, Imputation
from miha.gapfill.kernel import LEARNED, covariance, variance
from miha.gapfill.predictors import Background, Static


def layers(shape):
    """Terrain and two classes, in halves."""
    rows, columns = np.indices(shape).astype(np.float32)
    halves = np.stack([columns < shape[1] / 2, columns >= shape[1] / 2]).astype(np.float32)
    return Static((), (rows / 7)[None], halves[1:], halves)


def pixels_of(background, static):
    return Features.of(background, static).weighed(LEARNED)


@pytest.fixture
def days(days):
    """A part of them, so that it is fast."""
    return np.ascontiguousarray(days[:, :11, :12])


@pytest.fixture
def linear():
    """Eight days whose anomalies are multiples of one pattern."""
    pattern, rng = np.random.default_rng(0).standard_normal((9, 11)), np.random.default_rng(1)
    pattern -= pattern.mean()
    anomalies = (rng.uniform(1, 3, 8)[:, None, None] * pattern).astype(np.float32)
    return Background(np.zeros((9, 11), np.float32), np.zeros(8, np.float32), anomalies, np.ones(8, np.float32))


def test_covariance_is_symmetric_and_positive_definite_with_noise(days):
    pixels = pixels_of(Background.of(days), layers(days.shape[1:]))
    found = covariance(LEARNED, pixels, pixels).double()
    assert torch.allclose(found, found.T, atol=1e-4)
    assert torch.linalg.cholesky_ex(found + LEARNED.noise * torch.eye(len(found))).info == 0


def test_the_diagonal_of_the_covariance_is_the_variance(days):
    pixels = pixels_of(Background.of(days), layers(days.shape[1:]))
    diagonal = covariance(LEARNED, pixels, pixels).diagonal()
    assert torch.allclose(diagonal, variance(LEARNED, pixels), rtol=1e-3)


def test_covariance_of_sets_of_pixels_is_that_of_each_set(days):
    pixels = pixels_of(Background.of(days), layers(days.shape[1:]))
    sets = torch.tensor([[0, 5, 9], [40, 41, 100]])
    together = covariance(LEARNED, pixels[sets[:, 0]].single(), pixels[sets])
    for number, chosen in enumerate(sets):
        alone = covariance(LEARNED, pixels[chosen[:1]], pixels[chosen])
        assert torch.allclose(together[number], alone, atol=1e-4)


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("piece", [1, 400, 7000])
def test_covariance_has_the_same_bits_in_pieces_of_any_size(days, monkeypatch, piece, far):
    pixels = pixels_of(Background.of(days), layers(days.shape[1:]))
    whole = covariance(LEARNED, pixels, pixels[slice(50)], far)
    monkeypatch.setattr("miha.gapfill.kernel.PIECE", piece)
    assert torch.equal(covariance(LEARNED, pixels, pixels[slice(50)], far), whole)
    assert covariance(LEARNED, pixels[slice(0)], pixels, far).shape == (0, len(whole))


def test_pixels_that_behave_alike_covary_more_than_others_as_far_away():
    """Two classes of pixels that lie mixed, and go up and down against each other."""
    kinds = np.indices((12, 12)).sum(axis=0) % 2 * 2.0 - 1
    strength = np.random.default_rng(0).standard_normal(8)
    days = 280 + strength[:, None, None] * kinds + np.random.default_rng(1).normal(0, 0.05, (8, 12, 12))
    pixels = pixels_of(Background.of(days.astype(np.float32)), Static.none((12, 12)))
    found = covariance(LEARNED, pixels, pixels).reshape(12, 12, 12, 12)
    assert found[5, 5, 5, 7] > found[5, 5, 5, 6]


def impute(background):
    return Imputation.fit(background.anomalies).fill(background.anomalies)


def test_imputing_leaves_what_is_visible(days):
    days[2, 3:9, 4:10] = np.nan
    days[5, :8] = np.nan
    background = Background.of(days)
    seen = ~np.isnan(days)
    imputed = impute(background)
    assert np.array_equal(imputed[seen], background.anomalies[seen])
    assert np.isfinite(imputed).all()


def test_a_gap_is_imputed_by_the_relation_of_its_day_to_the_others(linear):
    truth = linear.anomalies.copy()
    linear.anomalies[3, 2:7, 3:9] = np.nan
    off = impute(linear)[3, 2:7, 3:9] - truth[3, 2:7, 3:9]
    assert np.abs(off).max() < 0.05 * np.abs(truth[3, 2:7, 3:9]).max()


def test_a_day_that_shows_nothing_is_imputed_by_its_level(linear):
    linear.anomalies[3] = np.nan
    assert (impute(linear)[3] == 0).all()


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("static", [Static.none, layers])
def test_few_days_or_none_and_no_layers_are_enough(days, number, static):
    shape = days.shape[1:]
    days[0, 3:6, 3:6] = np.nan
    background = Background.of(days[:number]) if number else Background.none(days[0])
    assert impute(background).shape == (number, *shape)
    pixels = pixels_of(background, static(shape))
    found = covariance(LEARNED, pixels, pixels).double()
    assert torch.isfinite(found).all()
    assert torch.linalg.cholesky_ex(found + LEARNED.noise * torch.eye(len(found))).info == 0
