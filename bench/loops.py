"""The loops that ours is measured against: what most people write, and the least that can be written.

Samples are noise: only time is measured here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from miha import Batch, Data, GapFill, Mnist, Problem, Samples
from miha.evolution.point import Hyperparameters
from miha.gapfill.unet import UNet
from miha.problems.evaluation import EVALUATION_BATCH, to_device
from miha.training.compute import Compute, Precision
from miha.training.loop import Span, Trainer, network_to_device
from miha.training.optimizers import build_optimizer

CHANNELS = 30  # of the U-Net on Madrid


class NoiseDigits(Mnist):
    """The article's network on noise in the shape of digits."""

    train: int = Field(8000, description="samples")
    valid: int = Field(2000, description="samples")

    def fingerprint(self) -> str:
        return "noise"

    def stamp(self) -> str:
        return ""

    def load(self, cache: Path, seed: int) -> Data:
        generator = torch.Generator().manual_seed(seed)
        sizes = (self.train, self.valid)
        return Data(
            *(
                Samples(torch.rand(n, 784, generator=generator), torch.randint(10, (n,), generator=generator))
                for n in sizes
            )
        )


class NoiseScenes(GapFill):
    """The U-Net, or the autoencoder, on noise in the shape of scenes; by default of Madrid's."""

    train: int = Field(64, description="samples")
    valid: int = Field(16, description="samples")
    height: int = 112
    across: int = Field(88, description="columns, pixels")
    window: int = Field(4096, description="side of what is trained on, pixels: all of a scene")

    def fingerprint(self) -> str:
        return "noise"

    def stamp(self) -> str:
        return ""

    def prepare(self, cache: Path, seed: int, parallel_map: Callable[..., Any]) -> None:
        pass

    def extras(self, cache: Path, seed: int) -> dict[str, Any]:
        return {}

    def load(self, cache: Path, seed: int) -> Data:
        generator, shape = torch.Generator().manual_seed(seed), (self.height, self.across)

        def noise(*size: int) -> Tensor:
            return torch.randn(*size, *shape, generator=generator)

        channels = CHANNELS if self.network == "unet" else 1
        return Data(
            *(Samples(noise(n, channels), noise(n), (noise(n) < 0).float()[:, None]) for n in (self.train, self.valid))
        )

    def build_network(self) -> nn.Module:
        return UNet(CHANNELS, self.width, self.levels) if self.network == "unet" else super().build_network()


class NoiseScenesInRows(NoiseScenes):
    """The same with images in PyTorch's default order."""

    channels_last: ClassVar[bool] = False


class Task:
    """A network and its samples, trained by different loops with one batch size."""

    def __init__(self, problem: Problem, batch_size: int) -> None:
        self.problem, self.network, self.data = problem, problem.build_network(), problem.load(Path(), 0)
        loss = problem.offered_losses()[0]
        self.point = Hyperparameters(optimizer="Adam", lr=1e-3, batch_size=batch_size, activations={}, loss=loss)


def our_epochs(task: Task, epochs: int, precision: Precision = "float32") -> None:
    """``miha.training.loop`` as a stage runs it."""
    network_to_device(task.network, "cpu", task.problem.channels_last)
    optimizer, compute = build_optimizer(task.network, task.point), Compute(precision=precision)
    trainer = Trainer(task.network, optimizer, task.problem, task.data, task.point, seed=0, compute=compute)
    for _ in trainer.epochs(Span(1, epochs)):
        pass


def usual_epochs(task: Task, epochs: int) -> None:
    """A DataLoader over a TensorDataset, shuffled, and Adam and the order of images as PyTorch gives them."""
    task.network.to(memory_format=torch.contiguous_format)
    train, valid = (TensorDataset(*_present(samples)) for samples in (task.data.train, task.data.valid))
    loader = DataLoader(train, batch_size=task.point.batch_size, shuffle=True)
    judge = DataLoader(valid, batch_size=task.point.batch_size)
    optimizer = torch.optim.Adam(task.network.parameters(), lr=task.point.lr)
    for _ in range(epochs):
        task.network.train()
        total = 0.0
        for parts in loader:
            batch = _augmented(task.problem, parts)
            optimizer.zero_grad()
            loss = _mean_loss(task, batch)
            loss.backward()
            optimizer.step()
            total += loss.item()
        _judge(task, judge)


def bare_epochs(task: Task, epochs: int) -> None:
    """Batches split once and for all, fused Adam, the same validation, and nothing else: no shuffling, no sums.

    Images are in the order that the problem wants, as in our loop.
    """
    network_to_device(task.network, "cpu", task.problem.channels_last)
    size = task.point.batch_size
    train, valid = (
        list(zip(*(part.split(length) for part in _present(samples)), strict=True))
        for samples, length in ((task.data.train, size), (task.data.valid, _evaluation_batch(task)))
    )
    optimizer = torch.optim.Adam(task.network.parameters(), lr=task.point.lr, fused=True)
    for _ in range(epochs):
        task.network.train()
        for parts in train:
            batch = to_device(_augmented(task.problem, parts), "cpu", task.problem.channels_last)
            optimizer.zero_grad()
            _mean_loss(task, batch).backward()
            optimizer.step()
        _judge(task, valid, task.problem.channels_last)


def _evaluation_batch(task: Task) -> int:
    return EVALUATION_BATCH if isinstance(task.problem, Mnist) else task.point.batch_size


@torch.no_grad()
def _judge(task: Task, batches: Any, channels_last: bool = False) -> None:
    task.network.eval()
    for parts in batches:
        batch = to_device(Batch(*parts), "cpu", channels_last)
        loss, metric, count = task.problem.validation(task.network(batch.inputs), batch)
        _ = float(loss / count), float(metric / count)


def _mean_loss(task: Task, batch: Batch) -> Tensor:
    loss, count = task.problem.losses(task.network(batch.inputs), batch)
    return loss / count


def _augmented(problem: Problem, parts: Any) -> Batch:
    """The batch mirrored at random, if that belongs to the task."""
    batch = Batch(*parts)
    if not problem.draws_per_sample:
        return batch
    return problem.augment(batch, torch.rand(len(batch.inputs), problem.draws_per_sample))


def _present(samples: Samples) -> list[Tensor]:
    return [part for part in samples.tensors if part is not None]
