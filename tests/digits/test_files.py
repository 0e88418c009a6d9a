import gzip

import numpy as np
import pytest

from miha.datasets import fetch
from miha.digits.files import BACKGROUND, read_idx, to_tensors
from miha.digits.problem import FILES, TEST_FILES, Mnist
from miha.errors import DataError


def test_images_and_labels_are_read_as_they_were_written(digits):
    images, labels = (read_idx(digits / file) for file in TEST_FILES)
    assert (images.shape, labels.shape) == ((100, 28, 28), (100,))
    for picture, digit in zip(images, labels, strict=True):
        row, column = divmod(int(digit), 4)
        assert (picture[row * 8 : row * 8 + 6, column * 7 : column * 7 + 6] == 255).all()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gzip.compress(b"\x00" * 100, mtime=0), "magic number 0"),
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(np.array([2051, 3, 28, 28], ">u4").tobytes() + b"\x00" * 784, mtime=0), "cannot reshape"),
        (gzip.compress(np.array([2049], ">u4").tobytes(), mtime=0), "buffer"),
    ],
)
def test_what_is_no_file_of_digits_is_reported_with_the_remedy(tmp_path, content, why):
    (tmp_path / "other.gz").write_bytes(content)
    with pytest.raises(
        DataError, match=rf"other\.gz is no gzipped IDX file of digits \(.*{why}.*Fetch the digits again"
    ):
        read_idx(tmp_path / "other.gz")


def test_missing_or_damaged_files_are_named(digits):
    (digits / FILES[1]).write_bytes((digits / FILES[1]).read_bytes()[:-10])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz is no gzipped IDX file"):
        Mnist(data=digits).load(digits, 0)
    (digits / FILES[0]).unlink()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing.*miha fetch mnist"):
        Mnist(data=digits).fingerprint()


def test_pixels_are_standardised_and_black_is_the_background():
    images = np.array([[[0, 255]]], np.uint8).repeat(28, 1).repeat(14, 2)
    pixels, labels = to_tensors(images, np.array([7], np.uint8))
    assert pixels.shape == (1, 784)
    assert pixels.unique().tolist() == pytest.approx([BACKGROUND, (1 - 0.1307) / 0.3081])
    assert labels.tolist() == [7]


@pytest.mark.real
def test_the_published_digits_are_fetched_and_read(published_data, tmp_path):
    fetch("mnist", tmp_path / "mnist")
    data = Mnist(data=tmp_path / "mnist").load(tmp_path, 0)
    assert (len(data.train), len(data.valid)) == (8000, 2000)
    assert len(Mnist(data=tmp_path / "mnist").test()) == 10_000
    assert data.train.tensors.inputs.mean() == pytest.approx(0, abs=0.02)
