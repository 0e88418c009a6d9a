import gzip

import numpy as np
import pytest
import torch

import miha
from miha.datasets import fetch
from miha.errors import DataError
from miha.problems.base import count_parameters
from miha.problems.mnist import FILES, TEST_FILES, Mnist, read_idx
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


@pytest.mark.real
def test_the_published_digits_are_fetched_and_read(published_data, tmp_path):
    fetch("mnist", tmp_path / "mnist")
    data = Mnist(data=tmp_path / "mnist").load(tmp_path, 0)
    assert (len(data.train), len(data.valid)) == (8000, 2000)
    assert len(Mnist(data=tmp_path / "mnist").test()) == 10_000
    assert data.train.tensors.inputs.mean() == pytest.approx(0, abs=0.02)
