import gzip

import numpy as np
import pytest
import torch

import miha
from miha.datasets import fetch
from miha.errors import DataError
from miha.problems.base import Batch, count_parameters, find_dropouts
from miha.problems.mnist import ELASTIC, FILES, KNOTS, SHIFT, TEST_FILES, Mnist, distort_digits, read_idx
from miha.report.evaluate import evaluate


def write_digits(folder, images, labels, count, seed):
    """Digits that a small network learns at once: a bright square whose place tells the class."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 10, count).astype(np.uint8)
    pixels = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
    for picture, digit in zip(pixels, classes, strict=True):
        row, column = divmod(int(digit), 4)
        picture[row * 8 : row * 8 + 6, column * 7 : column * 7 + 6] = 255
    header = np.array([2051, count, 28, 28], ">u4").tobytes()
    (folder / images).write_bytes(gzip.compress(header + pixels.tobytes()))
    (folder / labels).write_bytes(gzip.compress(np.array([2049, count], ">u4").tobytes() + classes.tobytes()))


@pytest.fixture
def digits(tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    write_digits(folder, *FILES, 300, 0)
    write_digits(folder, *TEST_FILES, 100, 1)
    return folder


def test_the_network_is_the_articles_784_400_10(digits):
    problem = Mnist(data=digits)
    assert count_parameters(problem.build_network()) == 784 * 400 + 400 + 400 * 10 + 10
    layers = problem.layers(problem.build_network())
    assert set(layers) == {"layer1.1"}, "the loss takes logarithms of probabilities, so the output layer stays"


def test_validation_is_drawn_from_the_training_digits_and_by_seed(digits):
    one, again, other = (Mnist(data=digits, samples=200).load(digits, seed) for seed in (0, 0, 1))
    assert (len(one.train), len(one.valid)) == (160, 40)
    assert torch.equal(one.valid.tensors.inputs, again.valid.tensors.inputs)
    assert not torch.equal(one.valid.tensors.inputs, other.valid.tensors.inputs)
    assert len(Mnist(data=digits).test()) == 100


def test_the_same_algorithm_trains_it_and_evaluate_tells_its_accuracy(digits, tmp_path):
    config = miha.RunConfig.model_validate(
        {
            "run_dir": tmp_path / "run",
            "run": {"workers": 1},
            "schedule": {
                "initial_epochs": 3,
                "cycles": 1,
                "population_size": 3,
                "candidate_epochs": 1,
                "fixing_epochs": 1,
            },
        }
    )
    run = miha.optimize(Mnist(data=digits, samples=300, hidden=20), config)
    assert run.history.accuracy.between(0, 1).all()
    metrics, _, _ = evaluate(tmp_path / "run", digits, against=tmp_path / "run")
    assert metrics["accuracy"] > 0.9
    assert metrics["methods"]["run"]["accuracy"] == metrics["accuracy"]


def test_missing_or_damaged_files_are_named(digits):
    (digits / FILES[1]).write_bytes((digits / FILES[1]).read_bytes()[:-10])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz is no gzipped IDX file"):
        Mnist(data=digits).load(digits, 0)
    (digits / FILES[0]).unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing.*miha fetch mnist"):
        Mnist(data=digits).fingerprint()
    (digits / "other.gz").write_bytes(gzip.compress(b"\x00" * 100))
    with pytest.raises(DataError, match="magic number 0"):
        read_idx(digits / "other.gz")


def test_dropout_leaves_the_names_of_the_weights_and_costs_nothing_at_0(digits):
    network = Mnist(data=digits).build_network()
    assert set(network.state_dict()) == {"layer1.0.weight", "layer1.0.bias", "layer2.0.weight", "layer2.0.bias"}
    assert find_dropouts(network) == {"layer1.2": 0.0}
    inputs = torch.randn(3, 784)
    assert torch.equal(network.train()(inputs), network.eval()(inputs))


def test_training_starts_on_the_loss_that_validates(digits):
    problem = Mnist(data=digits)
    assert problem.offered_losses() == ("cross_entropy", "label_smoothing", "focal")
    batch = Batch(*problem.load(digits, 0).train.tensors)
    output = problem.build_network()(batch.inputs).detach()
    loss, count = problem.training_loss(output, batch, "cross_entropy")
    assert (float(loss), count) == pytest.approx(tuple(map(float, problem.losses(output, batch))))


BACKGROUND = -0.1307 / 0.3081
DRAWS = Mnist.draws_per_distortion


def test_a_distortion_by_nothing_leaves_a_digit_as_it_is():
    inputs = torch.randn(4, 784)
    assert torch.allclose(distort_digits(inputs, torch.zeros(4, DRAWS)), inputs, atol=1e-5)


def test_a_distortion_shifts_by_pixels_and_brings_in_background():
    inputs = torch.full((1, 28, 28), 2.0)
    inputs[0, 10, 12] = 3.0
    right = torch.zeros(1, DRAWS)
    right[0, 4] = 1.0
    shifted = distort_digits(inputs.view(1, 784), right).view(28, 28)
    assert torch.allclose(shifted[:, :-2], inputs[0, :, 2:], atol=1e-4)
    assert torch.allclose(shifted[:, -2:], torch.full((28, 2), BACKGROUND), atol=1e-4)
    assert SHIFT == 2


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


@pytest.mark.real
def test_the_published_digits_are_fetched_and_read(published_data, tmp_path):
    fetch("mnist", tmp_path / "mnist")
    data = Mnist(data=tmp_path / "mnist").load(tmp_path, 0)
    assert (len(data.train), len(data.valid)) == (8000, 2000)
    assert len(Mnist(data=tmp_path / "mnist").test()) == 10_000
    assert data.train.tensors.inputs.mean() == pytest.approx(0, abs=0.02)
