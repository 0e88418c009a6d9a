"""Handwritten digits, the article's second experiment: shows that nothing of rasters is in the algorithm."""

import gzip
import math
import zlib
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from miha.errors import DataError
from miha.evolution.hyperparameters import CLASS_LOSSES
from miha.evolution.seeds import stream
from miha.files import digest_files
from miha.problems.base import Batch, Data, Problem, Samples, correct
from miha.problems.nets.fnn import FeedForward

FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
_IMAGES, _LABELS = 2051, 2049  # magic numbers of the IDX format
_PIXELS = 28 * 28
_PIXEL = 2 / 28  # a picture reaches from -1 to 1
_MEAN, _DEVIATION = 0.1307, 0.3081  # of the pixels of the training digits

# How far an augmentation of 1 goes at most: what people's hands differ by, roughly.
ROTATION = math.radians(12)
SCALING = 0.1  # of either side
SHEAR = 0.15  # columns a row
SHIFT = 2.0  # pixels
KNOTS = 5  # of the elastic distortion, to a side; each bends what lies around it by itself
ELASTIC = 1.0  # by how much at the knot, along either axis, pixels; what neighbours do adds up


class Mnist(Problem):
    """Classify 28x28 digits with a 784-400-10 network; cross-entropy, accuracy."""

    metric: ClassVar[str] = "accuracy"
    draws_per_distortion: ClassVar[int] = 6 + 2 * KNOTS**2

    name: str = Field("mnist", description="gapfill, mnist, or module:Class of your own")
    samples: int = Field(10_000, ge=100, le=60_000, description="digits used, the first of the training set")
    valid_fraction: float = Field(0.2, gt=0, lt=1, description="part of them kept for validation, drawn at random")
    hidden: int = Field(400, ge=1, description="hidden units")

    def fingerprint(self) -> str:
        for file in FILES:
            if not (self.data / file).is_file():
                raise DataError(
                    f"{self.data / file} is missing. Get the digits with `miha fetch mnist --out {self.data}`."
                )
        return digest_files([self.data / file for file in FILES], self.data)

    def load(self, cache: Path, seed: int) -> Data:
        images, labels = (read_idx(self.data / file)[: self.samples] for file in FILES)
        if len(images) != len(labels):
            raise DataError(f"{self.data} has {len(images)} images but {len(labels)} labels. Fetch the digits again.")
        order = stream(seed, "split").permutation(len(images))
        cut = max(1, round(len(order) * self.valid_fraction))
        valid, train = (torch.from_numpy(np.sort(part)) for part in (order[:cut], order[cut:]))
        inputs, target = to_tensors(images, labels)
        return Data(Samples(inputs[train], target[train]), Samples(inputs[valid], target[valid]))

    def test(self) -> Samples:
        """The 10,000 test digits, which training never sees."""
        return Samples(*to_tensors(*(read_idx(self.data / file) for file in TEST_FILES)))

    def build_network(self) -> nn.Module:
        return FeedForward(self.hidden)

    def distort(self, batch: Batch, draws: Tensor, strength: float) -> Batch:
        return batch._replace(inputs=distort_digits(batch.inputs, strength * (2 * draws - 1)))

    def offered_losses(self) -> tuple[str, ...]:
        return CLASS_LOSSES

    def losses(self, output: Tensor, batch: Batch) -> tuple[Tensor, int]:
        return functional.nll_loss(output, batch.target, reduction="sum"), len(output)

    def validation(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor, int]:
        loss, count = self.losses(output, batch)
        return loss, correct(output, batch), count


def distort_digits(inputs: Tensor, amounts: Tensor) -> Tensor:
    """Rotate, scale, shear, shift and bend digits, each in its own way; after Simard et al. 2003 (ICDAR, section 2).

    Their elastic field is smoothed noise; here it is the sum of bells at the knots of a grid, which costs one product.

    Args:
        inputs: (n, 784), standardised; what comes in from outside is background.
        amounts: (n, 6 + 2 KNOTS²), -1 to 1: of the rotation, the scales of both sides, the shear, the shifts to both
            sides, then for each knot how far to the right, and for each how far down its surroundings are looked for.
    """
    angle, wider, higher, shear, right, down = amounts[:, :6].unbind(1)
    cos, sin = torch.cos(ROTATION * angle), torch.sin(ROTATION * angle)
    wider, higher, shear = 1 + SCALING * wider, 1 + SCALING * higher, SHEAR * shear
    right, down = (SHIFT * _PIXEL * amount for amount in (right, down))
    maps = torch.stack([wider * cos, shear - higher * sin, right, wider * sin, higher * cos, down], 1)
    grid = torch.cat([maps, ELASTIC * _PIXEL * amounts[:, 6:]], 1) @ _places()
    background = -_MEAN / _DEVIATION
    pictures = (inputs - background).view(-1, 1, 28, 28)  # so that the zeros that padding brings in are background
    moved = functional.grid_sample(pictures, grid.view(-1, 28, 28, 2), align_corners=False)
    return moved.view(-1, _PIXELS) + background


@cache
def _places() -> Tensor:
    """What each number of a distortion adds to both coordinates of each pixel: (6 + 2 KNOTS², 784 * 2).

    The six of an affine map, row by row, as ``functional.affine_grid`` but many times as fast; then the knots, each of
    which displaces what lies around it like a bell.
    """
    middles = (torch.arange(28) + 0.5) * _PIXEL - 1
    down, right = torch.meshgrid(middles, middles, indexing="ij")
    pixel = torch.stack([right, down, torch.ones(28, 28)]).view(3, _PIXELS)
    places = torch.linspace(-1, 1, KNOTS)
    bells = torch.exp(-0.5 * ((middles - places[:, None]) / (2 / KNOTS)) ** 2)
    around = torch.einsum("ay,bx->abyx", bells, bells).view(-1, _PIXELS)
    axes = torch.eye(2).view(2, 1, 1, 2)
    return torch.cat([(axes * what[:, :, None]).view(-1, _PIXELS * 2) for what in (pixel, around)])


def to_tensors(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Digits as float32 (n, 784) in 0 to 1, standardised with the usual mean and deviation, and labels as int64."""
    pixels = torch.from_numpy(images.astype(np.float32)).reshape(len(images), _PIXELS) / 255
    return (pixels - _MEAN) / _DEVIATION, torch.from_numpy(labels.astype(np.int64))


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
