import gzip

import numpy as np
import pytest

from miha.digits.problem import FILES, TEST_FILES


def _write_digits(folder, images, labels, count, seed):
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
    _write_digits(folder, *FILES, 300, 0)
    _write_digits(folder, *TEST_FILES, 100, 1)
    return folder


@pytest.fixture
def write_digits():
    """A function that writes images and labels of so many digits, by seed."""
    return _write_digits
