"""A problem small enough to train in milliseconds; worker processes import it by name."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from miha.evolution.losses import REGRESSION_LOSSES
from miha.problems.problem import Problem
from miha.problems.samples import Batch, Data, Samples
from tests.support import faults


class TinyNet(nn.Module):
    """Activations at several depths of the module tree, dropout, and one shared activation."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.Tanh()
        self.body = nn.ModuleDict({"first": nn.Sequential(nn.Linear(2, 16), nn.ReLU()), "second": nn.Linear(16, 16)})
        self.act = shared
        self.same = shared
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(16, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.act(self.body["second"](self.body["first"](inputs)))
        output: Tensor = self.head(self.dropout(self.same(hidden)))
        return output[:, 0]


class TinyProblem(Problem):
    """Learn a smooth function of two numbers from 70 points (no multiple of a batch size).

    ``data`` is the folder of a planned fault, if a test wants one; it is not among the settings, so bits stay.
    """

    metric: ClassVar[str] = "mae"

    points: int = 70

    def fingerprint(self) -> str:
        return f"tiny {self.points}"

    def load(self, cache: Path, seed: int) -> Data:
        faults.watch(self.data)
        generator = torch.Generator().manual_seed(0)
        inputs = torch.rand(self.points + 40, 2, generator=generator) * 2 - 1
        target = torch.sin(3 * inputs[:, 0]) * inputs[:, 1]
        cut = self.points
        return Data(Samples(inputs[:cut], target[:cut]), Samples(inputs[cut:], target[cut:]))

    def build_network(self) -> nn.Module:
        return TinyNet()

    def losses(self, output: Tensor, batch: Batch) -> tuple[Tensor, int]:
        return functional.mse_loss(output, batch.target, reduction="sum") * faults.loss_factor(), len(output)

    def validation(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor, int]:
        loss, count = self.losses(output, batch)
        return loss, (output - batch.target).abs().sum(), count


class TunableProblem(TinyProblem):
    """The same with all that a problem can offer: losses, and an augmentation that moves its points a little."""

    draws_per_sample: ClassVar[int] = 1
    draws_per_distortion: ClassVar[int] = 2

    used_losses: ClassVar[list[str | None]] = []  # what training asked for, in this process
    used_strengths: ClassVar[list[float]] = []

    def offered_losses(self) -> tuple[str, ...]:
        return REGRESSION_LOSSES

    def training_loss(self, output: Tensor, batch: Batch, name: str | None) -> tuple[Tensor, int | Tensor]:
        self.used_losses.append(name)
        return super().training_loss(output, batch, name)

    def augment(self, batch: Batch, draws: Tensor) -> Batch:
        return batch._replace(inputs=batch.inputs + 0.001 * (draws - 0.5))

    def distort(self, batch: Batch, draws: Tensor, strength: float) -> Batch:
        self.used_strengths.append(strength)
        return batch._replace(inputs=batch.inputs + 0.1 * strength * (draws - 0.5))
