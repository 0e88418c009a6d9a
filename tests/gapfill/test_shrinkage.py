import pytest
import torch
from torch import nn

from miha.gapfill.problem import GapFill
from miha.gapfill.shrinkage import trusted_share
from miha.problems.evaluation import validate
from miha.problems.samples import Samples

DAYS, PIXELS = 8, 4


class Says(nn.Module):
    """What its inputs say."""

    def forward(self, inputs):
        return inputs


def days(correction, target):
    """DAYS samples, each a day: what the network says, and what would be right, of one value a day."""

    def maps(values):
        return torch.as_tensor(values, dtype=torch.float32).view(DAYS, 1, 1, 1).expand(DAYS, 1, PIXELS, PIXELS)

    return Samples(maps(correction), maps(target)[:, 0], torch.ones(DAYS, 1, PIXELS, PIXELS), [1] * DAYS)


@pytest.mark.parametrize("right", [0.0, 0.25, 0.5, 1.0])
def test_of_a_correction_that_is_too_large_on_all_days_the_right_share_is_used(right):
    assert trusted_share(Says(), GapFill(members=1), days([4.0] * DAYS, [4.0 * right] * DAYS)) == right


def test_a_correction_that_helps_by_chance_alone_is_not_used():
    samples = days([1.0] * DAYS, [1.0] * 5 + [-1.0] * 3)
    assert validate(Says(), GapFill(members=1), samples).loss < 1.0
    assert trusted_share(Says(), GapFill(members=1), samples) == 0.0


def test_less_is_used_of_a_correction_that_suits_some_days_and_is_too_large_on_others():
    share = trusted_share(Says(), GapFill(members=1), days([1.0] * DAYS, [1.0, 0.2] * 4))
    assert 0 < share < 1


def test_the_share_is_set_after_training_and_decides_what_is_said_but_not_what_is_learned(simulated):
    problem = GapFill(data=simulated, members=1)
    network = problem.build_network()
    with torch.no_grad():
        network.linear.bias.fill_(4.0)
    inputs = torch.zeros(DAYS, problem.channels, PIXELS, PIXELS)
    samples = Samples(inputs, torch.full((DAYS, PIXELS, PIXELS), 1.0), torch.ones(DAYS, 1, PIXELS, PIXELS), [1] * DAYS)
    problem.calibrate(network, samples, "cpu")
    assert float(network.share) == 0.25
    assert validate(network, problem, samples).loss == 0.0
    assert (network.train()(inputs) == 4.0).all()
