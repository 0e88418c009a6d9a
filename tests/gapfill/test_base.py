import numpy as np
import pytest

from miha.evolution.seeds import stream
from miha.gapfill.base import PROCESS, blend, fill_base, process_of
from miha.gapfill.cases import Case
from miha.gapfill.features import Features
from miha.gapfill.guess import fit_climatology, fit_ridge, guess_scene, visible_pixels
from miha.gapfill.kriging import fill_by_kriging
from miha.gapfill.predictors import Background, Layer, Static
from miha.gapfill.problem import GapFill
from miha.gapfill.process import Posterior, Size, fill_by_process
from miha.gapfill.regressions import GuessSettings
from miha.rasters.stack import list_rasters, read_date, read_scene


@pytest.fixture(scope="module")
def filled(simulated):
    """Each gap of the simulated day, and what the base, ridge and pixel means make of it."""
    problem = GapFill(data=simulated)
    background, static = Background.of(problem.history().values), problem.static()
    truth_file = list_rasters(simulated / "truth")[0]
    truth, day = read_scene(truth_file).values, read_date(truth_file)
    found = []
    for path in list_rasters(simulated / "gapped"):
        scene = read_scene(path).values
        case = Case(scene, truth, background, static, gap="", day=day)
        fitted = visible_pixels(scene, scene.size, np.random.default_rng(0))
        base = fill_base(scene, background, static, 0)
        others = fit_ridge(scene, background, static, fitted), fit_climatology(scene, background)
        found.append((case, base, *others))
    return found


def test_the_less_the_kernel_fits_a_scene_the_more_the_first_guess_says():
    process, guess = np.full((2, 3), 10, np.float32), np.full((2, 3), 20, np.float32)
    for calibration, expected in ((0.5, 10), (1, 10), (1.25, 12), (2, 15)):
        blended = blend(process, guess, calibration)
        assert np.allclose(blended, expected)
        assert blended.dtype == np.float32


def test_the_base_is_the_blend_of_process_and_first_guess_as_sure_as_the_process(days):
    scene, background, static = days[0].copy(), Background.of(days[1:]), Static.none(days.shape[1:])
    scene[4:13, 5:19] = np.nan
    process = process_of(scene, background, static, stream(3, "fill", PROCESS))
    guess = guess_scene(scene, background, static, GuessSettings(), stream(3, "fill", 0))
    base = fill_base(scene, background, static, 3)
    assert np.array_equal(base.mean, blend(process.mean, guess.value, process.calibration))
    assert np.array_equal(base.std, process.std)


def test_the_process_of_a_window_is_that_of_the_whole_scene_there(days):
    scene, background, static = days[0].copy(), Background.of(days[1:]), Static.none(days.shape[1:])
    scene[4:13, 5:19] = np.nan
    window = (slice(3, 15), slice(0, 12))
    whole, part = (
        process_of(scene, background, static, np.random.default_rng(0), Size(dense=100), there)
        for there in ((slice(None), slice(None)), window)
    )
    assert np.allclose(part.mean, whole.mean[window], rtol=0, atol=1e-4)
    assert np.allclose(part.std, whole.std[window], rtol=0, atol=1e-4)
    assert (part.std > 0).any()


def test_equal_seeds_give_equal_bits_and_others_other_ones(days):
    scene, background, static = days[0].copy(), Background.of(days[1:]), Static.none(days.shape[1:])
    scene[4:13, 5:19] = np.nan
    one, same, other = (fill_base(scene, background, static, seed).mean for seed in (0, 0, 1))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()


def test_the_base_errs_less_than_ridge_and_pixel_means(filled):
    base, ridge, climatology = np.array(
        [[case.error(one) for one in (base.mean, *others)] for case, base, *others in filled]
    ).T
    assert base.mean() < 0.9 * ridge.mean()
    assert base.mean() < 0.5 * climatology.mean()


def test_intervals_of_the_base_hold_about_as_much_as_they_say(filled):
    held = {share: np.mean([case.sureness(base)[share] for case, base, *_ in filled]) for share in ("50", "80", "95")}
    assert 0.35 < held["50"] < held["80"] < held["95"]
    assert 0.6 < held["80"] < 0.95


def test_a_probability_score_punishes_false_sureness_and_needless_doubt(filled):
    case, base, *_ = filled[4]
    score = case.sureness(base)["crps"]
    assert score < case.error(base.mean)
    for factor in (0.05, 20):
        assert case.sureness(Posterior(base.mean, factor * base.std))["crps"] > score


@pytest.mark.parametrize("number", [0, 1])
def test_a_scene_is_filled_from_itself_or_one_other_day(days, number):
    scene = days[0].copy()
    scene[4:13, 5:19] = np.nan
    background = Background.of(days[1 : 1 + number]) if number else Background.none(scene)
    base, gap = fill_base(scene, background, Static.none(scene.shape), 0), np.isnan(scene)
    assert np.isfinite(base.mean).all()
    assert (base.std[gap] > 0).all()


def test_a_scene_alone_is_kriged_unless_a_static_layer_tells_about_it(days):
    scene, background = days[0].copy(), Background.none(days[0])
    scene[4:13, 5:19] = np.nan
    alone = fill_base(scene, background, Static.none(scene.shape), 3)
    kriged = fill_by_kriging(scene, stream(3, "fill", PROCESS))
    assert np.array_equal(alone.mean, kriged.mean)
    assert np.array_equal(alone.std, kriged.std)
    none, layer = Static.none(scene.shape), Layer(name="dem.tif", codes=None, mean=0, std=1)
    static = Static((layer,), (days[1:2] - days[1].mean()) / days[1].std(), none.classes, none.one_hot)
    informed = fill_base(scene, background, static, 3)
    bare = fill_by_process(scene, background, Features.of(background, static), stream(3, "fill", PROCESS))
    assert np.array_equal(informed.mean, bare.mean)
    assert np.array_equal(informed.std, bare.std)
    truth, gap = days[0], np.isnan(scene)
    assert np.abs(informed.mean - truth)[gap].mean() < np.abs(alone.mean - truth)[gap].mean()
