"""Handwritten digits, the article's second experiment: shows that nothing of rasters is in the algorithm."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from miha.digits.distortion import KNOTS, distort_digits
from miha.digits.files import read_idx, to_tensors
from miha.digits.network import FeedForward
from miha.errors import DataError
from miha.evolution.losses import CLASS_LOSSES
from miha.evolution.seeds import stream
from miha.files import digest_files, stamp_files
from miha.problems.evaluation import trained_network
from miha.problems.judgement import OURS, Judgement
from miha.problems.presentation import Presentation
from miha.problems.problem import NAMES, ParallelMap, Problem
from miha.problems.samples import Batch, Data, Samples, correct
from miha.records.archive import read_archive
from miha.threads import fixed_threads

FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
ARTICLE_DIGITS = 500  # of the test digits, those that the article measures on


class Mnist(Problem):
    """Classify 28x28 digits with a 784-400-10 network; cross-entropy, accuracy."""

    metric: ClassVar[str] = "accuracy"
    built_in: ClassVar[str] = "mnist"
    draws_per_distortion: ClassVar[int] = 6 + 2 * KNOTS**2

    name: str = Field("mnist", description=NAMES)
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

    def stamp(self) -> str:
        return stamp_files(self.data / file for file in FILES)

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

    def judge(self, archives: Mapping[str, Path], cache: Path, seed: int) -> Judgement:
        """Accuracy (0 to 1) on the 10,000 test digits, and on the first 500 of them as in the article."""
        accuracies = {name: self._accuracies(archive) for name, archive in archives.items()}
        table = pd.DataFrame(accuracies).rename_axis("test digits")
        ours = accuracies.pop(OURS)
        return Judgement({**ours, "methods": accuracies}, table, "accuracy", lower_is_better=False)

    def _accuracies(self, archive: Path) -> dict[str, float]:
        network = trained_network(self, read_archive(archive))
        inputs, target, _ = self.test().tensors
        with torch.inference_mode(), fixed_threads(1):
            right = (network(inputs).argmax(dim=1) == target).double()
        return {"accuracy": float(right.mean()), "accuracy_first_500": float(right[:ARTICLE_DIGITS].mean())}

    def present(self, archive: Path, parallel_map: ParallelMap, thorough: bool = False) -> Presentation:
        from miha.digits.presenting import present_digits  # matplotlib, which training needs not

        return present_digits(trained_network(self, read_archive(archive)), self.test())
