"""A trained network for use without MIHA: a state dict, a ``torch.export`` program, or ONNX."""

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from miha.errors import ConfigError
from miha.files import replacing
from miha.problems.evaluation import trained_network
from miha.problems.registry import archived_problem
from miha.problems.samples import map_tensors
from miha.records.archive import Archive, read_archive

FORMATS = ("pt", "pt2", "onnx")


def export(archive: Path, out: Path, data: Path | None = None, kind: str | None = None) -> None:
    """Write the network of a model archive to a file.

    Args:
        archive: of the model.
        out: ``.pt``, the weights by name, for ``load_state_dict`` (the activations that the network was tuned to are
            not in it); ``.pt2``, for ``torch.export.load``; ``.onnx``, which needs the extra ``onnx``. The last two
            hold the whole network, and take batches of any size, and series or images of any where PyTorch can export
            that.
        data: what the problem is built from; default: the folder of the run that the archive is in.
        kind: of the file; default: the suffix of ``out``.

    Raises:
        ArchiveError: the archive is damaged, or its network cannot be built here.
        ConfigError: no such format, or a network that PyTorch cannot export.
        StorageError: the file cannot be written.
    """
    chosen = kind or out.suffix.removeprefix(".")
    if chosen not in FORMATS:
        raise ConfigError(f"no format {chosen!r}: the suffix of --out, or --format, is pt, pt2 or onnx.")
    read = read_archive(archive)
    if chosen == "pt":
        with replacing(out) as temporary:
            torch.save(read.weights, temporary)
        return
    if chosen == "onnx":
        import onnxscript  # noqa: F401  # PyTorch needs it, and says so less clearly
    network, positional, named = network_and_example(read, data or archive.absolute().parents[1])
    shapes = map_tensors((positional, named), _any_size)
    with replacing(out) as temporary, _quiet(), torch.no_grad():
        try:
            program = torch.export.export(network, positional, named, dynamic_shapes=_by_parameter(network, *shapes))
            if chosen == "pt2":
                torch.export.save(program, temporary)
            else:
                torch.onnx.export(program, (), temporary, dynamo=True, external_data=False, verbose=False)
        except Exception as error:  # of many kinds
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"PyTorch cannot export the network of {archive} ({type(error).__name__}: {reason}). Write its forward "
                "without branches on values, or take the weights: --format pt."
            ) from error


def network_and_example(archive: Archive, data: Path) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """The network of an archive, and what to call it with, by position and by name, on two samples.

    Raises:
        ArchiveError: it cannot be built here.
    """
    problem = archived_problem(archive.manifest.problem, data)
    network = trained_network(problem, archive)
    network = getattr(network, "_orig_mod", network)  # of a network that torch.compile wraps
    return network, *problem.arguments(problem.example(archive.manifest.input_shape))


def _any_size(tensor: Tensor) -> dict[int, Any]:
    """The first dimension of an input may be of any size, the others (lengths, heights) where PyTorch finds a way."""
    return {0: torch.export.Dim.DYNAMIC, **dict.fromkeys(range(1, tensor.ndim), torch.export.Dim.AUTO)}


def _by_parameter(network: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Shapes by the name of the parameter of ``forward``, in its order."""
    bound = inspect.signature(network.forward).bind(*positional, **named)
    return dict(bound.arguments)


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporters tell much that is of no use here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
