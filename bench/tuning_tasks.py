"""The trainings that ``bench.tuning`` compares: small networks of several kinds, each with a test of its own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.heldout import held_out_errors
from miha import Batch, Data, GapFill, Mnist, Problem, Samples
from miha.evolution.point import SearchSpace
from miha.gapfill.encoding import Encoded, Normalisation, encode_scene
from miha.gapfill.guess import WHOLE, Window
from miha.gapfill.predictors import Background, Static, analogues
from miha.gapfill.process import Posterior
from miha.gapfill.unet import UNet
from miha.problems.evaluation import trained_network, validate
from miha.rasters.stack import Image
from miha.records.archive import read_archive
from miha.threads import fixed_threads


class LeNet(nn.Module):
    """A small convolutional network (LeCun et al. 1998, with ReLU and max pooling); maps (n, 784) to (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        )
        self.classes = nn.Sequential(nn.Linear(400, 84), nn.ReLU(), nn.Dropout(0.0), nn.Linear(84, 10))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.classes(self.features(inputs.reshape(-1, 1, 28, 28)))
        return output.log_softmax(dim=1)


class RowReader(nn.Module):
    """An LSTM that reads a digit row by row; maps (n, 784) to (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 48, batch_first=True)
        self.dropout, self.classes = nn.Dropout(0.0), nn.Linear(48, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.lstm(inputs.reshape(-1, 28, 28))
        output: Tensor = self.classes(self.dropout(states[:, -1]))
        return output.log_softmax(dim=1)


class ConvolvedDigits(Mnist):
    """The digits, seen by LeNet."""

    def build_network(self) -> nn.Module:
        return LeNet()


class ReadDigits(Mnist):
    """The digits, read by the LSTM."""

    def build_network(self) -> nn.Module:
        return RowReader()


class BareUNet(GapFill):
    """A U-Net that sees a scene and the days most like it, and no base."""

    network: Literal["unet", "autoencoder"] = "autoencoder"  # which sees values, not what the base leaves
    width: int = 12
    levels: int = 3

    @property
    def channels(self) -> int:
        return 2 * (1 + self.analogues)

    def build_network(self) -> nn.Module:
        return UNet(self.channels, self.width, self.levels)

    def encode(
        self,
        scene: Image,
        background: Background,
        static: Static,
        rng: np.random.Generator,
        window: Window = WHOLE,
        process: Posterior | None = None,
        normalisation: Normalisation | None = None,
    ) -> Encoded:
        normalisation = normalisation or Normalisation.of(background)
        days = analogues(scene, background, self.analogues)
        similar = background.level + background.offsets[days, None, None] + background.anomalies[days]
        seen = np.concatenate([scene[None], similar])[:, *window]
        values = np.nan_to_num((seen - normalisation.mean) / normalisation.std)
        base = encode_scene(scene, normalisation, window)
        return replace(base, channels=np.concatenate([values, ~np.isnan(seen)]).astype(np.float32))


class NoisyQuadratic(Problem):
    """Linear regression on features of very different scale, with noise: the greedy lower the learning rate too soon.

    A small rate takes the noise out of the large features at once, and never learns the small ones (Wu et al. 2018,
    arXiv 1803.02021, section 2).
    """

    metric: ClassVar[str] = "excess"

    features: int = 40
    train: int = 600

    def fingerprint(self) -> str:
        return "noisy quadratic"

    def load(self, cache: Path, seed: int) -> Data:
        return Data(self.draw(1, self.train), self.draw(2, 1000))

    def test(self) -> Samples:
        return self.draw(3, 2000)

    def draw(self, part: int, number: int) -> Samples:
        """Samples of one part: 1 training (with noise), 2 validation, 3 test."""
        generator = torch.Generator().manual_seed(part)
        scales = torch.logspace(0, -1.3, self.features)
        inputs = torch.randn(number, self.features, generator=generator) * scales
        target = inputs @ (1 / scales)
        return Samples(inputs, target + 6.0 * (part == 1) * torch.randn(number, generator=generator))

    def build_network(self) -> nn.Module:
        return nn.Linear(self.features, 1)

    def losses(self, output: Tensor, batch: Batch) -> tuple[Tensor, int]:
        return functional.mse_loss(output[:, 0], batch.target, reduction="sum"), len(output)


class Task(NamedTuple):
    """A problem and how it is trained.

    Attributes:
        problem: of the data sets' folders.
        schedule: without its population's further options.
        start: the article's.
        strong: what one who knows the field would choose.
        operators: how often each has its turn.
        errors: of a model on the test: the error that is reported (UNITS), and the loss that fitness goes by.
    """

    problem: Callable[[], Problem]
    schedule: dict[str, Any]
    start: dict[str, Any]
    strong: dict[str, Any]
    operators: dict[str, float]
    errors: Callable[[Problem, Path], tuple[float, float]]


def wrong_digits(problem: Problem, model: Path) -> tuple[float, float]:
    """Share of the 10,000 test digits that a model classifies wrong, percent; cross-entropy."""
    loss, right = _test(problem, model)
    return 100 * (1 - right), loss


def loss_on_test(problem: Problem, model: Path) -> tuple[float, float]:
    """Loss on fresh samples, twice."""
    loss, _ = _test(problem, model)
    return loss, loss


def _test(problem: Problem, model: Path) -> tuple[float, float]:
    samples = problem.test()
    assert samples is not None
    with fixed_threads(1):
        loss, metric, _ = validate(trained_network(problem, read_archive(model)), problem, samples)
    return loss, metric


def error_in_gaps(problem: Problem, model: Path) -> tuple[float, float]:
    """Mean squared error in gaps pasted on days held out for the test, and over the scene; standardised values."""
    errors = held_out_errors(model, problem.data, 24)
    return errors["gap"], errors["scene"]


UNITS = {
    **dict.fromkeys(("digits", "LeNet", "LSTM"), "wrong test digits, %"),
    **dict.fromkeys(("autoencoder", "U-Net"), "squared error in gaps of held-out days"),
    "deceptive": "loss on fresh samples",
}
ADAM = {"optimizer": "Adam"}
ADAMW = {"optimizer": "AdamW", "lr": 1e-3, "weight_decay": 0.01}
EVERY = SearchSpace().operators
DIGITS_OPERATORS = {**EVERY, "augmentation": 3.0}
SCHEDULE = {
    "initial_epochs": 4,
    "cycles": 3,
    "population_size": 4,
    "candidate_epochs": 3,
    "fixing_epochs": 2,
    "final_epochs": 14,
    "candidate_annealing": True,
}  # 60 in all


def tasks(digits: Path, scenes: Path, year: Path) -> dict[str, Task]:
    """All tasks by name.

    Args:
        digits: folder that ``miha fetch mnist`` wrote.
        scenes: a data set without truth, of the autoencoder.
        year: another, of the U-Net.
    """

    def classes(kind: type[Mnist], samples: int) -> Task:
        start = {"batch_size": 64}
        return Task(
            partial(kind, data=digits, samples=samples),
            SCHEDULE,
            {**ADAM, **start},
            {**ADAMW, **start},
            DIGITS_OPERATORS,
            wrong_digits,
        )

    autoencoder = partial(
        GapFill, data=scenes, network="autoencoder", loss="mse", train_samples=160, valid_samples=64, patch=64
    )
    sgd = {"optimizer": "SGD", "lr": 0.02, "momentum": 0.5, "batch_size": 16}
    return {
        "digits": classes(Mnist, 4000),
        "LeNet": classes(ConvolvedDigits, 1500),
        "LSTM": classes(ReadDigits, 1500),
        "autoencoder": Task(
            autoencoder,
            SCHEDULE,
            {**ADAM, "batch_size": 32},
            {**ADAMW, "batch_size": 32},
            {**dict.fromkeys(EVERY, 0.25), "activation": 6.0, "lr": 4.0, "dropout": 1.0},
            error_in_gaps,
        ),
        "U-Net": Task(
            partial(BareUNet, data=year, train_samples=160, valid_samples=64, patch=64),
            SCHEDULE,
            {**ADAM, "batch_size": 16},
            {**ADAMW, "batch_size": 16},
            EVERY,
            error_in_gaps,
        ),
        "deceptive": Task(
            NoisyQuadratic,
            SCHEDULE,
            sgd,
            {**sgd, "momentum": 0.9},
            {"lr": 1.0, "batch_size": 1.0, "momentum": 1.0},
            loss_on_test,
        ),
    }
