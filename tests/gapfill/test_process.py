import numpy as np
import pytest
import scipy
import torch

from miha.gapfill import full_scale, process
from miha.gapfill.features import Features
from miha.gapfill.intervals import NORMAL
from miha.gapfill.kernel import LEARNED, covariance, variance
from miha.gapfill.predictors import Background, Static
from miha.gapfill.process import Size, fill_by_process


def rng():
    return np.random.default_rng(7)


def fill(scene, background, **options):
    return fill_by_process(scene, background, Features.of(background, Static.none(scene.shape)), rng(), **options)


@pytest.fixture
def background(days):
    return Background.of(days[1:])


@pytest.fixture
def corner(days, scene):
    """A part of the scene with its part of the gap, and its background."""
    return scene[:12, :13], Background.of(days[1:, :12, :13])


@pytest.fixture
def scene(days):
    """A day of 480 pixels, with a gap."""
    scene = days[0] + np.random.default_rng(5).normal(0, 0.5, days[0].shape).astype(np.float32)
    scene[4:13, 5:19] = np.nan
    return scene


def exact(scene, background):
    """The same process, solved densely: mean, deviation as it is calibrated, and that of the scene."""
    departure = (scene - background.level).ravel().astype(np.float64)
    seen, asked = np.flatnonzero(~np.isnan(departure)), np.flatnonzero(np.isnan(departure))
    median = np.median(departure[seen])
    deviation = 1.4826 * np.median(np.abs(departure[seen] - median))
    pixels = Features.of(background, Static.none(scene.shape)).weighed(LEARNED)
    there, wanted = pixels[torch.from_numpy(seen)], pixels[torch.from_numpy(asked)]
    between = covariance(LEARNED, there, there).double().numpy() + LEARNED.noise * np.eye(len(seen))
    towards = covariance(LEARNED, wanted, there).double().numpy()
    inverse = np.linalg.inv(between)
    weights, standardised = towards @ inverse, (departure[seen] - median) / deviation
    off = np.empty(len(seen))  # of each pixel, predicted from those outside of its square
    _, square = np.unique(np.stack(np.divmod(seen, scene.shape[1])) // 12, axis=1, return_inverse=True)
    for own in (square.ravel() == number for number in range(square.max() + 1)):
        known = between[np.ix_(own, ~own)] @ np.linalg.inv(between[np.ix_(~own, ~own)])
        unsure = np.diag(between[np.ix_(own, own)] - known @ between[np.ix_(~own, own)])
        off[own] = (standardised[own] - known @ standardised[~own]) / np.sqrt(unsure)
    mean = background.level.ravel()[asked] + median + weights @ (departure[seen] - median)
    left = variance(LEARNED, wanted).double().numpy() - (weights * towards).sum(axis=1) + LEARNED.noise
    return mean, np.sqrt((off**2).mean()) * deviation * np.sqrt(left), deviation


def relative(std):
    """Deviations over their mean, whatever they were multiplied by."""
    return std / std.mean()


@pytest.fixture
def large(monkeypatch):
    """Scenes count as large, whatever their size."""
    monkeypatch.setattr(process, "SMALL", 0)


def sized(inducing):
    return Size(dense=0, inducing=inducing)


def test_a_small_scene_is_solved_densely(scene, background):
    filled, gap = fill(scene, background), np.isnan(scene)
    mean, std, deviation = exact(scene, background)
    assert np.abs(filled.mean[gap] - mean).max() < 0.01 * deviation
    assert np.abs(filled.std[gap] - std).max() < 0.01 * deviation


def test_of_many_pixels_those_along_the_gap_come_close_to_the_dense_solution(scene, background):
    mean, _, deviation = exact(scene, background)
    filled, gap = fill(scene, background, size=Size(dense=120)), np.isnan(scene)
    assert np.sqrt(((filled.mean[gap] - mean) ** 2).mean()) < 0.1 * deviation


def all_before(positions, _):
    """For each point the numbers of all before it."""
    numbers = np.arange(len(positions))
    return np.where(numbers < numbers[:, None], numbers, -1)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("inducing", [200, 10])
def test_all_neighbours_make_the_process_exact_however_many_pixels_induce(corner, monkeypatch, inducing):
    scene, background = corner
    monkeypatch.setattr(full_scale, "NEIGHBOURS", 200)
    monkeypatch.setattr(full_scale, "earlier_neighbours", all_before)
    filled, gap = fill(scene, background, size=sized(inducing)), np.isnan(scene)
    mean, std, deviation = exact(scene, background)
    assert np.abs(filled.mean[gap] - mean).max() < 0.01 * deviation
    assert np.abs(relative(filled.std[gap]) - relative(std)).max() < 0.01


@pytest.mark.usefixtures("large")
def test_few_inducing_pixels_and_neighbours_come_close(scene, background):
    filled, gap = fill(scene, background, size=sized(100)), np.isnan(scene)
    mean, std, deviation = exact(scene, background)
    assert np.sqrt(((filled.mean[gap] - mean) ** 2).mean()) < 0.05 * deviation
    assert np.abs(relative(filled.std[gap]) - relative(std)).max() < 0.1


def test_visible_pixels_stay_bit_for_bit_and_are_sure(scene, background):
    filled, seen = fill(scene, background), ~np.isnan(scene)
    assert filled.mean[seen].tobytes() == scene[seen].tobytes()
    assert (filled.std[seen] == 0).all()
    assert (filled.std[~seen] > 0).all()
    assert np.isfinite(filled.mean).all()
    assert (filled.mean.dtype, filled.std.dtype) == (np.float32, np.float32)


def test_a_scene_without_gaps_stays(days, background):
    filled = fill(days[0], background)
    assert np.array_equal(filled.mean, days[0])
    assert (filled.std == 0).all()


def test_the_process_is_less_sure_the_farther_what_is_visible():
    scene = np.random.default_rng(0).standard_normal((16, 24)).astype(np.float32)
    scene[:, 8:] = np.nan
    by_column = fill(scene, Background.none(scene)).std.mean(axis=0)
    assert (np.diff(by_column[7:]) > 0).all()


def test_equal_draws_give_equal_bits(scene, background):
    one, other = (fill(scene, background) for _ in range(2))
    assert one.mean.tobytes() == other.mean.tobytes()
    assert one.std.tobytes() == other.std.tobytes()


def test_a_constant_scene_is_filled_by_its_constant(scene):
    flat = np.where(np.isnan(scene), np.nan, 280).astype(np.float32)
    filled = fill(flat, Background.none(flat))
    assert np.allclose(filled.mean, 280, atol=1e-3)
    assert (filled.std[np.isnan(flat)] > 0).all()


def test_another_unit_and_zero_change_nothing_else(scene, background):
    kelvin = fill(scene, background)
    fahrenheit = Background(
        background.level * 1.8 - 460, background.offsets * 1.8, background.anomalies * 1.8, background.weights
    )
    filled = fill(scene * 1.8 - 460, fahrenheit)
    assert np.allclose(filled.mean, kelvin.mean * 1.8 - 460, atol=1e-2)
    assert np.allclose(filled.std, kelvin.std * 1.8, atol=1e-2)


def test_32_visible_pixels_are_enough(days, background):
    scene = np.full_like(days[0], np.nan)
    seen = np.random.default_rng(0).choice(scene.size, 32, replace=False)
    scene.flat[seen] = days[0].flat[seen]
    filled = fill(scene, background)
    assert np.isfinite(filled.mean).all()
    assert (filled.std[np.isnan(scene)] > 0).all()
    assert np.abs(filled.mean - days[0]).mean() < np.abs(days[0] - days[0].mean()).mean()


@pytest.mark.usefixtures("large")
def test_at_most_so_many_visible_pixels_are_fitted(scene, background, monkeypatch):
    monkeypatch.setattr(process, "MOST_VISIBLE", 100)
    fitted, of = [], process.FullScale
    monkeypatch.setattr(
        process,
        "FullScale",
        lambda kernel, seen, values, most: fitted.append(len(values)) or of(kernel, seen, values, most),
    )
    filled, seen = fill(scene, background, size=sized(50)), ~np.isnan(scene)
    assert fitted == [100]
    assert np.array_equal(filled.mean[seen], scene[seen])


def test_half_of_the_pixels_that_a_large_scene_is_fitted_to_lie_along_its_gaps(monkeypatch):
    seen = np.ones((200, 200), bool)
    seen[80:120, 80:120] = False
    visible, (rows, columns) = np.flatnonzero(seen), np.indices(seen.shape)
    near = (np.maximum(np.abs(rows - 99.5), np.abs(columns - 99.5)) < 40).ravel()
    monkeypatch.setattr(process, "MOST_VISIBLE", 2000)

    def along() -> float:
        taken = process.pixels_to_fit(visible, seen.shape, Size(), np.random.default_rng(0))
        assert len(taken) == len(set(taken)) == 2000
        return near[taken].mean()

    assert along() > 0.5
    monkeypatch.setattr(process, "LOOKED_AT", 10_000)  # of so large a scene it is not known
    assert along() < 0.2


WINDOW = (slice(2, 11), slice(7, 24))


def test_a_window_gets_what_the_whole_scene_gets_there(scene, background):
    whole, part = fill(scene, background), fill(scene, background, window=WINDOW)
    assert part.mean.shape == part.std.shape == (9, 17)
    assert np.allclose(part.mean, whole.mean[WINDOW], rtol=0, atol=1e-4)
    assert np.allclose(part.std, whole.std[WINDOW], rtol=0, atol=1e-4)
    seen = ~np.isnan(scene[WINDOW])
    assert part.mean[seen].tobytes() == scene[WINDOW][seen].tobytes()
    assert (part.std[seen] == 0).all()


@pytest.mark.usefixtures("large")
def test_a_window_that_cuts_squares_of_pixels_with_common_neighbours_gets_what_the_whole_scene_gets(scene, background):
    whole, part = (fill(scene, background, size=sized(40), **where) for where in ({}, {"window": WINDOW}))
    assert np.allclose(part.mean, whole.mean[WINDOW], rtol=0, atol=1e-4)
    assert np.allclose(part.std, whole.std[WINDOW], rtol=0, atol=1e-4)


@pytest.mark.usefixtures("large")
def test_a_few_components_of_the_inducing_pixels_come_close(scene, background, monkeypatch):
    mean, std, deviation = exact(scene, background)
    gap, off = np.isnan(scene), []
    for components in (3, 60):
        monkeypatch.setattr(full_scale, "COMPONENTS", components)
        filled = fill(scene, background, size=sized(200))
        off.append(np.sqrt(((filled.mean[gap] - mean) ** 2).mean()) / deviation)
        assert np.sqrt(((filled.std[gap] - std) ** 2).mean()) < 0.2 * deviation
    assert off[1] < 0.05
    assert off[1] < off[0]


def test_a_window_without_a_gap_stays_as_it_is(scene, background):
    window = (slice(0, 4), slice(None))
    filled = fill(scene, background, window=window)
    assert filled.mean.tobytes() == scene[window].tobytes()
    assert (filled.std == 0).all()


def test_a_window_that_is_hidden_entirely_is_filled_from_what_lies_around_it(scene, background):
    window = (slice(6, 12), slice(8, 16))
    assert np.isnan(scene[window]).all()
    whole, part = fill(scene, background), fill(scene, background, window=window)
    assert np.allclose(part.mean, whole.mean[window], rtol=0, atol=1e-4)


def test_to_fill_a_window_changes_neither_the_scene_nor_its_background(scene, background):
    before = scene.copy(), background.level.copy()
    fill(scene, background, window=WINDOW)
    assert np.array_equal(scene, before[0], equal_nan=True)
    assert np.array_equal(background.level, before[1])


@pytest.mark.usefixtures("large")
def test_more_inducing_pixels_than_visible_ones_are_all_visible_ones(scene, background):
    visible = int((~np.isnan(scene)).sum())
    as_many, more = (fill(scene, background, size=sized(number)) for number in (visible, 10 * visible))
    assert as_many.mean.tobytes() == more.mean.tobytes()
    assert as_many.std.tobytes() == more.std.tobytes()


@pytest.mark.usefixtures("large")
def test_the_fewer_inducing_pixels_the_farther_from_exact(scene, background):
    gap, (mean, *_) = np.isnan(scene), exact(scene, background)
    few, many = (
        np.sqrt(((fill(scene, background, size=sized(number)).mean[gap] - mean) ** 2).mean()) for number in (5, 300)
    )
    assert many < few


def test_intervals_hold_as_much_of_scenes_drawn_from_the_process_as_they_should(background):
    pixels = Features.of(background, Static.none(background.level.shape)).weighed(LEARNED)
    within = covariance(LEARNED, pixels, pixels).double().numpy()
    root = np.linalg.cholesky(within + LEARNED.noise * np.eye(len(within)))
    gap = np.zeros(background.level.shape, bool)
    gap[3:15, 4:18] = True
    draws, inside = np.random.default_rng(0), []
    for _ in range(6):
        drawn = (root @ draws.standard_normal(len(root))).reshape(gap.shape)
        truth = (background.level + drawn).astype(np.float32)
        filled = fill(np.where(gap, np.float32(np.nan), truth), background)
        inside.append((np.abs(filled.mean - truth) < 1.2816 * filled.std)[gap].mean())
    assert 0.74 < np.mean(inside) < 0.86


@pytest.mark.parametrize("dense", [3000, 0])
def test_intervals_of_a_scene_of_noise_alone_of_which_the_kernel_expects_far_less_hold_it(
    background, monkeypatch, dense
):
    monkeypatch.setattr(process, "SMALL", 12_000 if dense else 0)
    truth = background.level + np.random.default_rng(0).standard_normal(background.level.shape).astype(np.float32)
    gap = np.zeros(truth.shape, bool)
    gap[3:15, 4:18] = True
    filled = fill(np.where(gap, np.float32(np.nan), truth), background, size=Size(dense=dense, inducing=50))
    assert 0.7 < (np.abs(filled.mean - truth) < 1.2816 * filled.std)[gap].mean() < 0.95


def test_a_scene_most_of_whose_pixels_are_alike_is_not_taken_for_sure():
    """As snow cover or rain are: 0 in most places, so that the median departure from the median is 0."""
    values = np.random.default_rng(0).uniform(1, 100, (20, 24)).astype(np.float32)
    values[np.random.default_rng(1).random(values.shape) < 0.7] = 0
    scene = values.copy()
    scene[4:13, 5:19] = np.nan
    assert fill(scene, Background.none(scene)).std[np.isnan(scene)].min() > 1


def test_intervals_of_a_smooth_scene_without_noise_hold_it_although_each_pixel_is_told_by_those_beside_it():
    rng = np.random.default_rng(0)
    days = np.stack([scipy.ndimage.gaussian_filter(rng.standard_normal((48, 48)), 4) for _ in range(11)]) * 20
    truth, background = days[0].astype(np.float32), Background.of(days[1:].astype(np.float32))
    gap = np.zeros(truth.shape, bool)
    gap[10:40, 12:44] = True
    filled = fill(np.where(gap, np.float32(np.nan), truth), background)
    assert (np.abs(filled.mean - truth) < 1.2816 * filled.std)[gap].mean() > 0.6


def test_intervals_of_a_scene_with_long_tails_are_narrow_for_half_of_the_pixels_and_wide_for_nearly_all(background):
    """As where clouds' edges or roofs are left in a scene."""
    noise = np.random.default_rng(0).standard_t(2.5, background.level.shape)
    truth = background.level + noise.astype(np.float32)
    gap = np.zeros(truth.shape, bool)
    gap[3:15, 4:18] = True
    filled = fill(np.where(gap, np.float32(np.nan), truth), background)
    assert filled.intervals[50] < 0.8 * NORMAL[50]
    assert filled.intervals[95] > NORMAL[95]
    off = np.abs(filled.mean - truth)[gap] / filled.std[gap]
    assert abs((off <= filled.intervals[50]).mean() - 0.5) < abs((off <= NORMAL[50]).mean() - 0.5)
