"""What a problem is: data, split, network, loss and metric. Subclass :class:`Problem` for your own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from miha.errors import ArchiveError
from miha.evolution.hyperparameters import ACTIVATIONS, CLASS_ACTIVATIONS, HIDDEN_ACTIVATIONS
from miha.problems.losses import named_loss

ParallelMap = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

_CHUNK_BYTES = 32 * 2**20  # gather shuffled samples in pieces of about this size


class Batch(NamedTuple):
    """Some samples: inputs (n, …), targets (n, …), and for rasters which target pixels count (n, height, width)."""

    inputs: Tensor
    target: Tensor
    mask: Tensor | None = None


class Samples:
    """Samples held in memory (or mapped from a file), handed out in batches.

    A shuffled epoch is gathered in large pieces and then split, which is many times as fast as gathering sample by
    sample, and needs little memory beside the samples.
    """

    def __init__(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        self.tensors = Batch(inputs, target, mask)

    def __len__(self) -> int:
        return len(self.tensors.inputs)

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """Yield batches of ``size`` samples (the last may be shorter), in the given order of indices."""
        if order is None:
            yield from _split(self.tensors, size)
            return
        per_sample = sum(part[0].nbytes for part in self.tensors if part is not None)
        batches_at_once = max(1, _CHUNK_BYTES // (per_sample * size))
        for piece in order.split(batches_at_once * size):
            inputs, target, mask = self.tensors
            gathered = Batch(
                inputs.index_select(0, piece),
                target.index_select(0, piece),
                None if mask is None else mask.index_select(0, piece),
            )
            yield from _split(gathered, size)


def _split(batch: Batch, size: int) -> Iterator[Batch]:
    inputs, targets = batch.inputs.split(size), batch.target.split(size)
    if batch.mask is None:
        yield from map(Batch, inputs, targets)
    else:
        yield from map(Batch, inputs, targets, batch.mask.split(size))


class Data(NamedTuple):
    """The two splits that training sees; the metric times ``unit`` is in the data's own unit."""

    train: Samples
    valid: Samples
    unit: float = 1.0


class Problem(BaseModel, ABC):
    """A task for one network of fixed topology.

    Its fields are its settings and can be written as JSON, so that a process elsewhere can build it anew. A subclass
    must be importable by that process: define it at the top of a module, not in a function or a notebook cell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: ClassVar[str]  # name of the extra metric in the history, e.g. "accuracy"
    draws_per_sample: ClassVar[int] = 0  # random numbers that augment takes for each sample
    draws_per_distortion: ClassVar[int] = 0  # those that distort takes; 0: there is no augmentation to tune
    mixed_precision: ClassVar[bool] = False  # True: training gains from bfloat16 where the processor has it
    channels_last: ClassVar[bool] = False  # True: images, in whose channels_last order the network is faster

    name: str = Field("", description="of a built-in problem, or module:Class of your own")
    data: Path = Field(Path(), description="folder of the data set")

    @model_validator(mode="before")
    @classmethod
    def _name_by_import_path(cls, said: Any) -> Any:
        """A problem that is not built in is known by where it can be imported from."""
        built_in = cls.model_fields["name"].default if cls.__module__.startswith("miha.") else ""
        name = built_in or f"{cls.__module__}:{cls.__qualname__}"  # whatever it says: by this it is found again
        return {**said, "name": name} if isinstance(said, dict) else said

    def settings(self) -> dict[str, Any]:
        """All settings but paths, as JSON."""
        return self.model_dump(mode="json", exclude={"data"})

    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of the data that training reads.

        Raises:
            DataError: the data set cannot be used.
        """

    def prepare(self, cache: Path, seed: int, parallel_map: ParallelMap) -> None:
        """Compute once what every stage needs and keep it in ``cache``. By default nothing."""

    @abstractmethod
    def load(self, cache: Path, seed: int) -> Data:
        """The training and validation samples, the same ones whenever called with one seed."""

    @abstractmethod
    def build_network(self) -> nn.Module:
        """The network with fresh weights; draws them from PyTorch's current generator."""

    def augment(self, batch: Batch, draws: Tensor) -> Batch:
        """Vary a training batch. By default not at all.

        Args:
            batch: n samples.
            draws: (n, ``draws_per_sample``), uniform in 0 to 1: all the chance there is. Siblings get the same numbers
                for a sample whatever their batch size.
        """
        return batch

    def distort(self, batch: Batch, draws: Tensor, strength: float) -> Batch:
        """Vary a training batch further, as much as the hyperparameter ``augmentation`` says; not called when it is 0.

        Args:
            batch: n samples, as :meth:`augment` returned them.
            draws: (n, ``draws_per_distortion``), like those of :meth:`augment`.
            strength: above 0, at most 1.
        """
        return batch

    @abstractmethod
    def losses(self, output: Tensor, batch: Batch) -> tuple[Tensor, int | Tensor]:
        """The loss summed over the batch, and over how many samples (rasters: target pixels).

        Validation measures by it, and training minimises it unless :meth:`offered_losses` names others.
        """

    def offered_losses(self) -> tuple[str, ...]:
        """Names of the losses in ``miha.problems.losses`` that training may minimise; the first to start with."""
        return ()

    def training_loss(self, output: Tensor, batch: Batch, name: str | None) -> tuple[Tensor, int | Tensor]:
        """What training minimises, in the form of :meth:`losses`.

        Args:
            output: of the network.
            batch: what it was given.
            name: one of :meth:`offered_losses`; None if the problem offers none.

        Raises:
            ConfigError: no loss of that name.
        """
        if name is None:
            return self.losses(output, batch)
        each = named_loss(name)(output, batch.target)
        if batch.mask is None:
            return each.sum(), len(output)
        return (each * batch.mask).sum(), batch.mask.sum()

    def validation(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor, int | Tensor]:
        """The validation loss and the metric, both summed over the batch, and the count."""
        loss, count = self.losses(output, batch)
        return loss, loss, count

    def layers(self, network: nn.Module) -> dict[str, tuple[str, ...]]:
        """Where an activation may change, and to what: every module that is one by its type, wherever it sits.

        Left alone are ``nn.Identity``, which stands for no activation in many networks, and what normalises over
        classes (``nn.LogSoftmax``, …), which the loss relies on. Override this for an output layer.
        """
        return {
            path: HIDDEN_ACTIVATIONS
            for path, name in find_activations(network).items()
            if name not in ("Identity", *CLASS_ACTIVATIONS)
        }

    def extras(self, cache: Path, seed: int) -> dict[str, Any]:
        """What an archive must carry so that its network can be used: normalisation, units, … as JSON."""
        return {}


def find_activations(network: nn.Module) -> dict[str, str]:
    """All activations of a network: module path → name of the class, in the order of the module tree."""
    return {
        path: type(module).__name__
        for path, module in network.named_modules()
        if type(module).__name__ in ACTIVATIONS and type(module).__module__.startswith("torch.nn.")
    }


def set_activations(network: nn.Module, activations: Mapping[str, str]) -> None:
    """Put the named activation of ``torch.nn`` at each module path, in place."""
    for path, name in activations.items():
        parent, _, child = path.rpartition(".")
        current = network.get_submodule(path)
        if type(current).__name__ != name:
            kind = getattr(nn, name)
            setattr(network.get_submodule(parent), child, kind(dim=1) if name in CLASS_ACTIVATIONS else kind())


def find_dropouts(network: nn.Module) -> dict[str, float]:
    """All dropout layers of a network: module path → probability, in the order of the module tree."""
    return {path: module.p for path, module in network.named_modules() if isinstance(module, DROPOUTS)}


def set_dropout(network: nn.Module, probability: float | None) -> None:
    """Give every dropout layer this probability, in place; None leaves each as it is."""
    for path in find_dropouts(network) if probability is not None else ():
        network.get_submodule(path).p = probability  # type: ignore[assignment]


def load_weights(network: nn.Module, weights: dict[str, Tensor]) -> None:
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


def input_shape(data: Data) -> tuple[int, ...]:
    """Shape of one input sample."""
    return tuple(data.train.tensors.inputs.shape[1:])


def count_parameters(network: nn.Module) -> int:
    """Number of trainable numbers in a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def correct(output: Tensor, batch: Batch) -> Tensor:
    """How many samples of a batch the largest output classifies right."""
    return (output.argmax(dim=1) == batch.target).sum(dtype=torch.float32)
