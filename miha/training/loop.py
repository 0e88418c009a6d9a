"""The epoch loop and nothing else."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from miha.evolution.hyperparameter import Hyperparameter
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.point import Hyperparameters
from miha.evolution.seeds import torch_seed
from miha.problems.evaluation import forward, to_device, validate
from miha.problems.problem import Problem
from miha.problems.samples import Batch, Data, batch_sizes, map_tensors, pieces
from miha.records.record import Epoch
from miha.training.averaging import RunningMean, estimate_batch_norm
from miha.training.compute import Compute
from miha.training.transition import Blend

# Those that do something before a step: calling all of them would cost small networks a few percent.
BEFORE_STEP = [kind for kind in HYPERPARAMETERS.values() if type(kind).before_step is not Hyperparameter.before_step]


class Span(NamedTuple):
    """Mainline numbers of the first and the last epoch of a stage, and whether the learning rate falls to zero.

    It falls along a cosine over the whole span (Loshchilov and Hutter 2017, equation 5).
    """

    first: int
    last: int
    annealing: bool = False

    def lr_factor(self, epochs_done: float) -> float:
        """What is left of the learning rate after so many epochs of the span."""
        return 0.5 * (1 + math.cos(math.pi * epochs_done / (self.last - self.first + 1))) if self.annealing else 1.0


@dataclass(frozen=True)
class Trainer:
    """What one stage trains and with what.

    Attributes:
        network: trained in place, on the device of ``compute``.
        optimizer: of all its parameters.
        problem: loss, metric and augmentation.
        data: training and validation samples.
        point: hyperparameters.
        seed: of the run; order and dropout of an epoch depend on it and the epoch's mainline number alone.
        compute: device, precision and threads.
        order: number of an own order of samples, augmentation and dropout; 0: that of the mainline.
        average: the mean of the weights, which is then validated in their place.
        blends: the old activations, while the network (and the mean of it) goes over to new ones.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    problem: Problem
    data: Data
    point: Hyperparameters
    seed: int
    compute: Compute
    order: int = 0
    average: RunningMean | None = None
    blends: Sequence[Blend] = ()

    def epochs(self, span: Span, done: int = 0, until: int | None = None) -> Iterator[Epoch]:
        """Train the epochs of a span, but for those that are ``done`` or come after ``until``, and yield after each.

        Stops early once a loss is not finite. Epoch 0 is only validated.
        """
        for number in range(span.first + done, (span.last if until is None else until) + 1):
            train_loss = self._train_epoch(number, span) if number else None
            self._reach(number - span.first + 1)
            judged, valid, device = self._judged(), self.data.valid, self.compute.device
            self.problem.calibrate(judged, valid, device)
            valid_loss, metric, shares = validate(judged, self.problem, valid, device)
            usable = math.isfinite(valid_loss) and (train_loss is None or math.isfinite(train_loss))
            yield Epoch(
                epoch=number,
                train_loss=None if train_loss is None else finite(train_loss),
                valid_loss=finite(valid_loss),
                shares=shares if usable else (),
                metrics={self.problem.metric: finite(metric * self.data.unit)},
                batch_size=self.point.batch_size,
                optimizer=self.point.optimizer,
                lr=self.point.lr * span.lr_factor(number - span.first),
            )
            if not usable:
                return

    def _reach(self, epochs_done: float) -> None:
        """Go on with a transition to new activations."""
        for blend in self.blends:
            blend.reach(epochs_done)

    def _judged(self) -> nn.Module:
        """The network to validate."""
        if self.average is None:
            return self.network
        self.average.take_buffers()
        mean, data, batch_size = self.average.mean, self.data.train, self.point.batch_size
        estimate_batch_norm(mean, self.problem, data, batch_size, self.compute.device)
        return mean

    def _train_epoch(self, number: int, span: Span) -> float:
        """Train one epoch; returns the mean training loss."""
        problem, point, samples, device = self.problem, self.point, self.data.train, self.compute.device
        sizes = batch_sizes(len(samples), point.batch_size)
        steps = len(sizes)
        place = (number, self.order) if self.order else (number,)
        generator = torch.Generator().manual_seed(torch_seed(self.seed, "augmentation", *place))
        draws, more_draws = (  # the second after the first, so that a sibling without distortion gets the same first
            torch.rand(len(samples), count, generator=generator).split(sizes)
            for count in (problem.draws_per_sample, problem.draws_per_distortion if point.augmentation else 0)
        )
        order_generator = torch.Generator().manual_seed(torch_seed(self.seed, "order", *place))
        order = torch.randperm(len(samples), generator=order_generator)
        total, count = (torch.zeros((), device=device) for _ in range(2))
        self.network.train()
        with seeded(torch_seed(self.seed, "dropout", *place), device):
            varied = torch_seed(self.seed, "augmentation", *place)
            for step, batch in enumerate(samples.batches(point.batch_size, order, varied)):
                if span.annealing:
                    _set_lr(self.optimizer, point.lr * span.lr_factor(number - span.first + step / steps))
                self._reach(number - span.first + step / steps)
                batch = problem.augment(batch, draws[step])
                if point.augmentation:
                    batch = problem.distort(batch, more_draws[step], point.augmentation)
                self.optimizer.zero_grad(set_to_none=True)
                loss, targets = self._backward(to_device(batch, device, problem.channels_last))
                if problem.max_gradient_norm is not None:
                    nn.utils.clip_grad_norm_(self.network.parameters(), problem.max_gradient_norm)
                for kind in BEFORE_STEP:
                    kind.before_step(self.network, point)
                self.optimizer.step()
                if self.average:
                    self.average.update()
                total += loss
                count += targets
        return float(total / count)

    def _backward(self, batch: Batch) -> tuple[Tensor, Tensor | int]:
        """Leave the gradient of a batch's mean loss with the parameters; returns the sum, and over how many targets."""
        parts = pieces(batch, self.problem.largest_piece)
        if len(parts) == 1:
            loss, targets = self._loss(batch)
            (loss / targets).backward()  # with a gradient of its own, backward would import all of sympy
            return loss.detach(), targets
        total, count = torch.zeros((), device=self.compute.device), torch.zeros((), device=self.compute.device)
        for part in parts:
            loss, targets = self._loss(part)
            loss.backward()
            total += loss.detach()
            count += targets
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad /= count
        return total, count

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor | int]:
        with self.compute.autocast():
            output = forward(self.network, self.problem, batch)
        return self.problem.training_loss(map_tensors(output, _widened), batch, self.point.loss)


def _widened(tensor: Tensor) -> Tensor:
    """Numbers of half the width as float32, in which losses are computed."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def network_to_device(network: nn.Module, device: str, channels_last: bool) -> nn.Module:
    """The network on the device, the weights of its convolutions in that order too."""
    network.to(device)
    return network.to(memory_format=torch.channels_last) if channels_last else network  # type: ignore[call-overload]


@contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed PyTorch's own generators inside the block and put them back after it (dropout accepts no other)."""
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def finite(value: float) -> float | None:
    """The number, or None if it is not finite (JSON has no NaN)."""
    return value if math.isfinite(value) else None
