"""The files of the digits (IDX format, gzipped) and their numbers as a network sees them."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from miha.errors import DataError

PIXELS = 28 * 28
_IMAGES, _LABELS = 2051, 2049  # magic numbers of the IDX format
_MEAN, _DEVIATION = 0.1307, 0.3081  # of the pixels of the training digits
BACKGROUND = -_MEAN / _DEVIATION


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: images (n, 28, 28) or labels (n,).

    Raises:
        DataError: not such a file, or truncated.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read()
        magic = int.from_bytes(content[:4], "big")
        if magic not in (_IMAGES, _LABELS):
            raise ValueError(f"magic number {magic}")
        dimensions = 3 if magic == _IMAGES else 1
        shape = np.frombuffer(content, ">u4", dimensions, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} is no gzipped IDX file of digits ({error}). Fetch the digits again.") from error


def to_tensors(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Digits as float32 (n, 784) in 0 to 1, standardised with the usual mean and deviation, and labels as int64."""
    pixels = torch.from_numpy(images.astype(np.float32)).reshape(len(images), PIXELS) / 255
    return (pixels - _MEAN) / _DEVIATION, torch.from_numpy(labels.astype(np.int64))
