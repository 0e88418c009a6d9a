import pytest
import torch

from miha.digits.distortion import ELASTIC, KNOTS, SHIFT, distort_digits
from miha.digits.problem import Mnist
from miha.problems.samples import Batch

BACKGROUND = -0.1307 / 0.3081
DRAWS = Mnist.draws_per_distortion


def test_a_distortion_by_nothing_leaves_a_digit_as_it_is():
    inputs = torch.randn(4, 784)
    assert torch.allclose(distort_digits(inputs, torch.zeros(4, DRAWS)), inputs, atol=1e-5)


def test_a_distortion_shifts_by_pixels_and_brings_in_background():
    inputs = torch.full((1, 28, 28), 2.0)
    inputs[0, 10, 12] = 3.0
    right = torch.zeros(1, DRAWS)
    right[0, 4] = 2 / SHIFT
    shifted = distort_digits(inputs.view(1, 784), right).view(28, 28)
    assert torch.allclose(shifted[:, :-2], inputs[0, :, 2:], atol=1e-4)
    assert torch.allclose(shifted[:, -2:], torch.full((28, 2), BACKGROUND), atol=1e-4)


@pytest.mark.parametrize("kind", [*range(6), 11, 36])
def test_every_distortion_keeps_blank_paper_blank_and_moves_a_digit(kind):
    amounts = torch.zeros(1, DRAWS)
    amounts[0, kind] = 1.0
    blank = torch.full((1, 784), BACKGROUND)
    assert torch.allclose(distort_digits(blank, amounts), blank, atol=1e-6)
    stroke = torch.full((1, 28, 28), BACKGROUND)
    stroke[0, 4:20, 5:8] = 2.8
    moved = distort_digits(stroke.view(1, 784), amounts)
    assert float((moved - stroke.view(1, 784)).abs().max()) > 0.5
    assert float(moved.min()) >= BACKGROUND - 1e-4


@pytest.mark.parametrize("axis", ["columns", "rows"])
def test_a_knot_displaces_what_lies_around_it_along_its_axis_and_leaves_what_is_far(axis):
    ramp = torch.arange(28.0).expand(28, 28)
    ramp = ramp if axis == "columns" else ramp.T
    knot = 1 * KNOTS + 1  # in the second row and column: a quarter of the way
    moved = []
    for number in (6 + knot, 6 + KNOTS**2 + knot):  # to the right, down
        amounts = torch.zeros(1, DRAWS)
        amounts[0, number] = 1.0
        moved.append(distort_digits(ramp.reshape(1, 784), amounts).view(28, 28) - ramp)
    along, across = moved if axis == "columns" else moved[::-1]
    assert float(along[6:8, 6:8].mean()) == pytest.approx(ELASTIC, abs=0.02)
    assert float(across[1:-1, 1:-1].abs().max()) < 1e-4
    assert float(along[24:, 24:].abs().max()) < 1e-2


def test_distortion_is_drawn_sample_by_sample_and_grows_with_its_strength(digits):
    problem = Mnist(data=digits)
    batch = Batch(*(part[:20] for part in problem.load(digits, 0).train.tensors[:2]))
    draws = torch.rand(20, DRAWS, generator=torch.Generator().manual_seed(0))
    full = problem.distort(batch, draws, 1.0).inputs
    parts = [
        problem.distort(Batch(batch.inputs[cut], batch.target[cut]), draws[cut], 1.0).inputs
        for cut in (slice(7), slice(7, 20))
    ]
    assert torch.allclose(torch.cat(parts), full, atol=1e-5)
    little = problem.distort(batch, draws, 0.1).inputs
    assert float((little - batch.inputs).abs().mean()) < float((full - batch.inputs).abs().mean())
