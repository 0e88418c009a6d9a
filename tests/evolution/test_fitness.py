import math

import numpy as np
import pytest

from miha.evolution.fitness import Fitness, FitnessSettings, fittest, noise, score

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
    assert fittest({number: one for number, one in enumerate(scores) if not one.diverged}, LEVEL_RATE) == 1


def test_of_equals_the_first_wins():
    scores = [score(2.0, losses, LEVEL_RATE) for losses in ([1.5], [1.0], [1.0])]
    assert fittest(dict(enumerate(scores)), LEVEL_RATE) == 1


def candidate(level, noise=0.0, value=None):
    return Fitness(level if value is None else value, level, 0.0, noise)


def test_a_candidate_within_the_noise_of_the_control_does_not_win_over_it():
    assert fittest({0: candidate(0.10), 1: candidate(0.12, noise=0.03)}, FitnessSettings()) == 0


def test_a_candidate_beyond_the_noise_of_the_control_wins():
    assert fittest({0: candidate(0.10), 1: candidate(0.14, noise=0.03)}, FitnessSettings()) == 1


@pytest.mark.parametrize(("errors", "winner"), [(0.0, 1), (1.0, 1), (2.0, 0)])
def test_the_setting_tells_how_many_standard_errors_are_noise(errors, winner):
    scores = {0: candidate(0.10), 1: candidate(0.14, noise=0.03)}
    assert fittest(scores, FitnessSettings(noise=errors)) == winner


def test_without_noise_any_better_candidate_wins_and_an_equal_one_does_not():
    settings = FitnessSettings(noise=0.0)
    assert fittest({0: candidate(0.10), 1: candidate(0.1001, noise=9.0)}, settings) == 1
    assert fittest({0: candidate(0.10), 1: candidate(0.10, noise=9.0, value=0.9)}, settings) == 0


def test_of_those_beyond_the_noise_the_fittest_wins_and_not_the_fittest_of_all():
    """Candidate 1 is the fittest, but may be no better than the control: it fell fast from a higher loss."""
    scores = {0: candidate(0.10), 1: candidate(0.11, 0.02, 0.9), 2: candidate(0.20, 0.02), 3: candidate(0.25, 0.02)}
    assert fittest(scores, FitnessSettings()) == 3


def test_a_candidate_with_a_higher_loss_than_the_control_does_not_win_by_its_rate():
    assert fittest({0: candidate(0.10), 1: candidate(0.09, value=0.9)}, FitnessSettings(noise=0.0)) == 0


def test_if_the_control_is_lost_all_others_compete():
    scores = {1: candidate(-0.3, noise=9.0), 2: candidate(-0.1, noise=9.0), 3: candidate(-0.2, noise=9.0)}
    assert fittest(scores, FitnessSettings()) == 2


def shares_of_blocks(number, seed=0):
    """What blocks add to the losses of a candidate and of the control, which share what makes a block hard."""
    rng = np.random.default_rng(seed)
    hardness = rng.gamma(2.0, size=number)
    return [(hardness + 0.2 * rng.standard_normal(number)) / number for _ in range(2)]


@pytest.mark.parametrize("number", [10, 20, 60])
def test_the_noise_is_the_standard_error_that_a_bootstrap_over_blocks_gives(number):
    shares, control = shares_of_blocks(number)
    draws = np.random.default_rng(1).integers(number, size=(20_000, number))
    differences = (shares - control)[draws].sum(axis=1)
    expected = differences.std() * math.sqrt(number / (number - 1)) / 2.0
    assert noise(2.0, shares, control) == pytest.approx(expected, rel=0.03)


def test_what_makes_a_block_hard_for_both_is_no_noise():
    shares, control = shares_of_blocks(20)
    shuffled = np.random.default_rng(1).permutation(control)
    assert noise(2.0, shares, control) < 0.5 * noise(2.0, shares, shuffled)


def test_two_models_that_differ_by_the_same_on_every_block_have_no_noise():
    shares, _ = shares_of_blocks(20)
    assert noise(2.0, shares, shares) == 0
    assert noise(2.0, shares + 0.25, shares) == pytest.approx(0, abs=1e-12)


def test_the_noise_is_a_fraction_of_the_parents_loss_as_the_level_is():
    shares, control = shares_of_blocks(20)
    one = noise(1.0, shares, control)
    assert noise(4.0, 4 * shares, 4 * control) == pytest.approx(one)
    assert noise(4.0, shares, control) == pytest.approx(one / 4)
    assert noise(-4.0, shares, control) == pytest.approx(one / 4)
    assert noise(0.0, shares, control) == one


@pytest.mark.parametrize("shares", [[], [0.5]])
def test_a_single_block_gives_no_estimate_of_noise(shares):
    assert noise(1.0, shares, [0.25] * len(shares)) == 0


def test_shares_of_different_blocks_are_not_compared():
    with pytest.raises(ValueError, match="zip"):
        noise(1.0, [0.5, 0.5], [1.0])


def test_a_parent_without_loss_left_gives_no_division_by_zero():
    assert score(0.0, [0.0, 0.0], LEVEL_RATE).value == 0


def test_a_loss_may_be_negative_as_a_likelihood_is():
    better, worse = score(-1.0, [-1.2], LEVEL_RATE), score(-1.0, [-0.9], LEVEL_RATE)
    assert better.level == pytest.approx(0.2)
    assert better.value > 0 > worse.value
