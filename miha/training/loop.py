"""The epoch loop and nothing else."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from miha.evolution.hyperparameters import Hyperparameters
from miha.evolution.seeds import torch_seed
from miha.problems.base import Batch, Data, Problem, Samples
from miha.records.record import Epoch

EVALUATION_BATCH = 256  # samples; rasters are cut smaller by EVALUATION_BYTES
EVALUATION_BYTES = 16 * 2**20


def train_epochs(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    problem: Problem,
    data: Data,
    hyperparameters: Hyperparameters,
    *,
    seed: int,
    first: int,
    last: int,
    device: str,
    precision: str,
    annealed: tuple[int, int] | None = None,
) -> Iterator[Epoch]:
    """Train in place and yield after each epoch; stops early once a loss is not finite.

    Args:
        first: mainline number of the first epoch to train.
        last: mainline number of the last one. Order and dropout of an epoch depend on (seed, number) alone.
        device: ``cpu`` or ``cuda``.
        precision: ``float32`` or ``bfloat16`` (autocast in training; validation is always float32).
        annealed: first and last mainline epoch over which the learning rate falls to zero along a cosine
            (Loshchilov and Hutter 2017, equation 5); None: it stays as it is.
    """
    for number in range(first, last + 1):
        train_loss = _train_epoch(
            network, optimizer, problem, data.train, hyperparameters, seed, number, device, precision, annealed
        )
        valid_loss, metric = validate(network, problem, data.valid, device)
        yield Epoch(
            epoch=number,
            train_loss=finite(train_loss),
            valid_loss=finite(valid_loss),
            metrics={problem.metric: finite(metric * data.unit)},
            batch_size=hyperparameters.batch_size,
            optimizer=hyperparameters.optimizer,
            lr=hyperparameters.lr * (_cosine(number - annealed[0], annealed) if annealed else 1.0),
        )
        if not (math.isfinite(train_loss) and math.isfinite(valid_loss)):
            return


def _train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    problem: Problem,
    samples: Samples,
    hyperparameters: Hyperparameters,
    seed: int,
    number: int,
    device: str,
    precision: str,
    annealed: tuple[int, int] | None,
) -> float:
    steps = math.ceil(len(samples) / hyperparameters.batch_size)
    strength = hyperparameters.augmentation
    generator = torch.Generator().manual_seed(torch_seed(seed, "augmentation", number))
    draws, more_draws = (  # the second after the first, so that a sibling without distortion gets the same first
        torch.rand(len(samples), count, generator=generator).split(hyperparameters.batch_size)
        for count in (problem.draws_per_sample, problem.draws_per_distortion if strength else 0)
    )
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(torch_seed(seed, "order", number)))
    total, count, one = torch.zeros((), device=device), torch.zeros((), device=device), torch.ones((), device=device)
    network.train()
    with seeded(torch_seed(seed, "dropout", number), device):
        for step, batch in enumerate(samples.batches(hyperparameters.batch_size, order)):
            if annealed:
                _set_lr(optimizer, hyperparameters.lr * _cosine(number - annealed[0] + step / steps, annealed))
            batch = problem.augment(batch, draws[step])
            if strength:
                batch = problem.distort(batch, more_draws[step], strength)
            batch = to_device(batch, device, problem.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with autocast(device, precision):
                output = network(batch.inputs)
            loss, targets = problem.training_loss(output.float(), batch, hyperparameters.loss)
            loss.backward(one / targets)  # as (loss / targets).backward(), to the last bit, but quicker
            optimizer.step()
            total += loss.detach()
            count += targets
    return float(total / count)


def _cosine(epochs_done: float, annealed: tuple[int, int]) -> float:
    return 0.5 * (1 + math.cos(math.pi * epochs_done / (annealed[1] - annealed[0] + 1)))


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


@torch.no_grad()
def validate(network: nn.Module, problem: Problem, samples: Samples, device: str) -> tuple[float, float]:
    """Validation loss and metric, means per sample (rasters: per target pixel), in float32."""
    per_sample = samples.tensors.inputs[0].nbytes
    size = max(1, min(EVALUATION_BATCH, EVALUATION_BYTES // per_sample))
    sums = torch.zeros(3, device=device)
    network.eval()
    for batch in samples.batches(size):
        batch = to_device(batch, device, problem.channels_last)
        loss, metric, targets = problem.validation(network(batch.inputs), batch)
        sums += torch.stack([loss, metric, torch.as_tensor(targets, device=device)])
    return float(sums[0] / sums[2]), float(sums[1] / sums[2])


def to_device(batch: Batch, device: str, channels_last: bool) -> Batch:
    """The batch on the device, its inputs (n, channels, height, width) in the order that their problem wants."""
    inputs = batch.inputs.contiguous(memory_format=torch.channels_last) if channels_last else batch.inputs
    if device == "cpu":
        return batch._replace(inputs=inputs)
    mask = None if batch.mask is None else batch.mask.to(device)
    return Batch(inputs.to(device), batch.target.to(device), mask)


def network_to_device(network: nn.Module, device: str, channels_last: bool) -> nn.Module:
    """The network on the device, the weights of its convolutions in that order too."""
    network.to(device)
    return network.to(memory_format=torch.channels_last) if channels_last else network  # type: ignore[call-overload]


def autocast(device: str, precision: str) -> AbstractContextManager[None]:
    """PyTorch's automatic mixed precision, or none for ``float32``."""
    return torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else nullcontext()


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
