import math

import pytest

from miha.evolution.fitness import FitnessSettings, fittest, score

LEVEL_RATE = FitnessSettings(rate_weight=0.5)
ARTICLE = FitnessSettings(kind="article")


def test_level_is_the_gain_over_the_parent_and_rate_that_of_the_last_epoch():
    fitness = score(2.0, [1.6, 1.2], LEVEL_RATE)
    assert fitness.level == pytest.approx(0.4)
    assert fitness.rate == pytest.approx(0.25)
    assert fitness.value == pytest.approx(0.4 + 0.5 * 0.25)


def test_after_one_epoch_the_rate_is_taken_against_the_parent():
    assert score(2.0, [1.0], LEVEL_RATE).rate == pytest.approx(0.5)


def test_the_articles_fitness_goes_by_name():
    assert score(2.0, [1.6, 1.4, 1.2], ARTICLE).value == pytest.approx((1.6 - 1.2) - 1.2)


@pytest.mark.parametrize("losses", [[1.0, None], [None], [1.0, math.nan], [math.inf, 0.5], [1.0, 20.1]])
@pytest.mark.parametrize("settings", [LEVEL_RATE, ARTICLE])
def test_a_diverged_candidate_has_fitness_minus_infinity(losses, settings):
    assert score(2.0, losses, settings).diverged


def test_a_worse_candidate_that_is_finite_has_not_diverged():
    assert not score(2.0, [19.9], LEVEL_RATE).diverged


def test_a_diverged_candidate_never_wins():
    scores = [score(2.0, losses, LEVEL_RATE) for losses in ([None], [3.0], [0.0, math.nan])]
    assert fittest(scores) == 1


def test_of_equals_the_first_wins():
    scores = [score(2.0, losses, LEVEL_RATE) for losses in ([1.5], [1.0], [1.0])]
    assert fittest(scores) == 1


def test_a_parent_without_loss_left_gives_no_division_by_zero():
    assert score(0.0, [0.0, 0.0], LEVEL_RATE).value == 0


def test_a_loss_may_be_negative_as_a_likelihood_is():
    better, worse = score(-1.0, [-1.2], LEVEL_RATE), score(-1.0, [-0.9], LEVEL_RATE)
    assert better.level == pytest.approx(0.2)
    assert better.value > 0 > worse.value
