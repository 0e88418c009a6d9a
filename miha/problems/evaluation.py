"""A network on samples: its loss and metric, and models judged by them."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from miha.errors import ArchiveError
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.point import Hyperparameters
from miha.problems.judgement import OURS, Judgement
from miha.problems.samples import Batch, SampleSource, map_tensors
from miha.records.archive import Archive, read_archive
from miha.threads import fixed_threads

if TYPE_CHECKING:
    from miha.problems.problem import Problem

EVALUATION_BATCH = 256  # samples; rasters are cut smaller by EVALUATION_BYTES
EVALUATION_BYTES = 16 * 2**20


class Validation(NamedTuple):
    """Loss and metric, means per sample (rasters: per target pixel), and each block's share of the loss: its sum."""

    loss: float
    metric: float
    shares: tuple[float, ...]


@torch.no_grad()
def validate(network: nn.Module, problem: "Problem", samples: SampleSource, device: str = "cpu") -> Validation:
    """How a network does on samples, in float32."""
    sums = torch.zeros(len(samples.blocks), 3, device=device)
    network.eval()
    for block, batch in batches_of(samples, problem, device):
        loss, metric, targets = problem.validation(forward(network, problem, batch), batch)
        sums[block] += torch.stack([loss, metric, torch.as_tensor(targets, device=device)])
    losses, metrics, counts = sums.double().cpu().unbind(1)
    shares = losses / counts.sum()
    return Validation(float(shares.sum()), float(metrics.sum() / counts.sum()), tuple(shares.tolist()))


def batches_of(samples: SampleSource, problem: "Problem", device: str) -> Iterator[tuple[int, Batch]]:
    """All samples on the device, in batches that memory holds, each with the number of its block."""
    size = max(1, min(EVALUATION_BATCH, EVALUATION_BYTES // max(1, samples.sample_bytes)))
    for block, batch in samples.by_block(size):
        yield block, to_device(batch, device, problem.channels_last)


def forward(network: nn.Module, problem: "Problem", batch: Batch) -> Any:
    """What a network makes of a batch."""
    positional, named = problem.arguments(batch)
    return network(*positional, **named)


def to_device(batch: Batch, device: str, channels_last: bool) -> Batch:
    """The batch on the device, its inputs (n, channels, height, width) in the order that their problem wants."""
    inputs = batch.inputs.contiguous(memory_format=torch.channels_last) if channels_last else batch.inputs
    batch = batch._replace(inputs=inputs)
    moved: Batch = batch if device == "cpu" else map_tensors(batch, lambda tensor: tensor.to(device))
    return moved


def configure(network: nn.Module, point: Hyperparameters) -> None:
    """Give a network what the hyperparameters say of it (activations, dropout), in place."""
    for kind in HYPERPARAMETERS.values():
        kind.configure(network, point)


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a network its weights.

    Raises:
        ArchiveError: names or shapes differ from the network's.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ArchiveError(
            f"the archive was made for another network: {str(error).splitlines()[-1].strip()}"
        ) from error


def trained_network(problem: "Problem", archive: Archive) -> nn.Module:
    """The network of an archive, ready to use.

    Raises:
        ArchiveError: it was made for another network.
    """
    network = problem.build_network()
    load_weights(network, archive.weights)
    configure(network, archive.manifest.record.hyperparameters)
    return network.eval()


def judge_on_samples(problem: "Problem", archives: Mapping[str, Path], cache: Path, seed: int) -> Judgement:
    """Judge models by their mean loss and metric on the problem's test samples, or else its validation samples.

    Raises:
        ArchiveError: a model that was made for another network.
    """
    import pandas as pd  # costs a third of a second, and processes that train need none of it

    problem.prepare(cache, seed, lambda function, items: [function(item) for item in items])
    data, test = problem.load(cache, seed), problem.test()
    samples, which = (data.valid, "validation") if test is None else (test, "test")
    columns: dict[str, dict[str, float]] = {}
    for name, path in archives.items():
        with fixed_threads(1):
            loss, metric, _ = validate(trained_network(problem, read_archive(path)), problem, samples)
        columns[name] = {f"{which}_loss": loss, problem.metric: metric * data.unit}
    table = pd.DataFrame(columns).rename_axis("mean")
    figures = {
        name: {key: value if math.isfinite(value) else None for key, value in column.items()}  # JSON has no NaN
        for name, column in columns.items()
    }
    return Judgement({**figures.pop(OURS), "methods": figures}, table, f"{which} samples", lower_is_better=None)
