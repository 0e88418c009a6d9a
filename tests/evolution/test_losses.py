import math

import pytest
import torch
from torch.nn import functional

from miha.errors import ConfigError
from miha.evolution.losses import CLASS_LOSSES, LOSSES, REGRESSION_LOSSES, named_loss
from miha.problems.samples import Batch
from tests.support.tiny import TunableProblem

OUTPUT, TARGET = torch.tensor([-3.0, 0.0, 0.5]), torch.zeros(3)


def test_every_name_has_its_loss():
    assert set(LOSSES) == {*REGRESSION_LOSSES, *CLASS_LOSSES}
    with pytest.raises(ConfigError, match="unknown loss 'hinge'; known are mse"):
        named_loss("hinge")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", [9, 0, 0.25]),
        ("l1", [3, 0, 0.5]),
        ("huber", [2.5, 0, 0.125]),
        ("log_cosh", [math.log(math.cosh(3)), 0, math.log(math.cosh(0.5))]),
    ],
)
def test_regression_losses_give_one_number_for_each_target(name, expected):
    assert LOSSES[name](OUTPUT, TARGET).tolist() == pytest.approx(expected, abs=1e-6)


def test_log_cosh_does_not_overflow():
    assert LOSSES["log_cosh"](torch.tensor([1e4]), torch.zeros(1)).item() == pytest.approx(1e4 - math.log(2))


@pytest.mark.parametrize("name", CLASS_LOSSES)
def test_class_losses_take_logits_and_log_probabilities_alike(name):
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    each = LOSSES[name](logits, target)
    assert each.shape == (6,)
    assert torch.allclose(each, LOSSES[name](functional.log_softmax(logits, 1), target), atol=1e-6)


def test_focal_loss_and_label_smoothing_follow_their_papers():
    logits, target = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    p = torch.softmax(logits, 1)[0]
    assert LOSSES["focal"](logits, target).item() == pytest.approx(float(-((1 - p[0]) ** 2) * p[0].log()))
    smooth = torch.tensor([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    assert LOSSES["label_smoothing"](logits, target).item() == pytest.approx(float(-(smooth * p.log()).sum()), rel=1e-6)


def test_the_sum_of_a_loss_counts_samples_or_target_pixels():
    problem = TunableProblem()
    loss, count = problem.training_loss(OUTPUT, Batch(torch.zeros(3, 2), TARGET), "l1")
    assert (float(loss), count) == (3.5, 3)
    mask = torch.tensor([1.0, 1.0, 0.0])
    loss, count = problem.training_loss(OUTPUT, Batch(torch.zeros(3, 2), TARGET, mask), "l1")
    assert (float(loss), float(count)) == (3.0, 2.0)
