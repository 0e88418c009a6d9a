from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from miha.gapfill.cases import Case
from miha.gapfill.comparison import Comparison, FilledCase
from miha.gapfill.predictors import Background, Static

SIDE = 48


def filled(number, columns, scale=1.0, **others):
    """A gap of some columns of a scene of zeros, filled with normal errors."""
    rng = np.random.default_rng(number)
    truth = np.zeros((SIDE, SIDE), np.float32)
    scene = truth.copy()
    scene[:, :columns] = np.nan
    case = Case(
        scene,
        truth,
        Background.none(scene),
        Static.none(scene.shape),
        gap=f"{columns:02d}",
        day=date(2020, 1, 1 + number),
    )
    errors = rng.normal(0, scale, truth.shape).astype(np.float32)
    return FilledCase(case, {"base": 2 * errors, "ours": errors, **others}, np.full_like(truth, scale))


@pytest.fixture
def comparison():
    return Comparison([filled(number, columns) for number, columns in enumerate((8, 24, 40))], "ours")


def test_means_weigh_each_gap_alike_and_lie_in_their_intervals(comparison):
    frame, means = comparison.by_gap(), comparison.means()
    assert frame["size"].tolist() == pytest.approx([100 * columns / SIDE for columns in (8, 24, 40)])
    for name, mean in means.items():
        assert mean.value == pytest.approx(frame[name].mean())
        assert mean.low < mean.value < mean.high
    assert means["ours"].value == pytest.approx(np.sqrt(2 / np.pi), rel=0.05)


def test_a_gain_is_paired_so_that_equal_errors_scaled_leave_no_doubt(comparison):
    gain = comparison.gain("ours", "base")
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.5, 0.5, 0.5), abs=1e-5)


def test_a_gain_is_stated_with_its_interval(comparison):
    gain = comparison.gain_sentence("ours", "base")
    assert gain == "The network lowers the error of the base by 50.0 % (95 % interval of the gain +50.0 to +50.0 %)."
    harm = comparison.gain_sentence("base", "ours")
    none = comparison.gain_sentence("ours", "base", corrects=False)
    assert none.startswith(
        "No network corrects the base; the mean of several bases lowers the error of the base by 50.0 %"
    )
    assert harm.startswith("The network raises the error of the base by 100.0 % (95 % interval of the gain -100.0")
    same = comparison.gain_sentence("ours", "ours")
    assert same.startswith("The network leaves the error of the base as it is (95 % interval of the gain +0.0 to +0.0")


def test_a_difference_that_is_luck_may_be_chance():
    cases = [
        replace(one, maps={"base": one.maps["ours"], "ours": one.maps["ours"][::-1]})
        for one in (filled(0, 24), filled(1, 40))
    ]
    assert Comparison(cases, "ours").gain_sentence("ours", "base").endswith("it may be chance.")


def test_normal_errors_lie_in_their_intervals_as_often_as_they_should(comparison):
    for share, held in comparison.coverage().items():
        assert held == pytest.approx(share, abs=3)


def test_errors_by_distance_start_beside_what_is_observed(comparison):
    frame = comparison.by_distance()
    assert frame.distance.iloc[0] == 1
    assert frame.distance.is_monotonic_increasing
    assert frame.pixels.sum() == SIDE * (8 + 24 + 40) == len(comparison.errors()["ours"])


def test_a_method_that_lacks_a_gap_or_a_pixel_is_left_out():
    whole = np.ones((SIDE, SIDE), np.float32)
    holed = np.where(np.eye(SIDE) > 0, np.nan, whole)
    first = filled(0, 8, lacking=whole, holed=holed)
    second = replace(filled(1, 24), maps={**filled(1, 24).maps, "holed": whole})
    assert Comparison([first, second], "ours").methods == ["base", "ours"]
