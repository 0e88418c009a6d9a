"""A problem put together from functions and data sets, which worker processes get as one pickled file."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import torch
from pydantic import Field
from torch import Tensor, nn

from miha.errors import ArchiveError, ConfigError, DataError, MihaError
from miha.files import digest_json, replacing, stamp_files
from miha.problems.dataset import Arguments, DatasetSamples, Source
from miha.problems.identity import identity
from miha.problems.presentation import Presentation
from miha.problems.problem import ParallelMap, Problem
from miha.problems.samples import Batch, Data, count


class Parts(NamedTuple):
    """What a problem is put together from.

    Attributes:
        build: gives the network with fresh weights.
        train: training samples.
        valid: validation samples.
        loss: of output and target, the mean over a batch.
        measure: the metric, of output and target, the mean over a batch; None: the loss is all.
    """

    build: Callable[[], nn.Module]
    train: Source
    valid: Source
    loss: Callable[[Any, Any], Any]
    measure: Callable[[Any, Any], Any] | None


class Assembled(Problem):
    """Parts in a file of the folder ``data``, which is named after their identity.

    The file is a pickle, and reading it runs what it says: open no folder of a run that you do not trust.
    """

    identity: str = Field(pattern=r"^([0-9a-f]{64})?$", description="digest of the functions and of the data")
    metric: str = Field("loss", description="name of the metric")  # type: ignore[misc]
    losses_offered: tuple[str, ...] = Field((), description="losses of miha.evolution.losses to train by")
    gradient_norm: float | None = Field(None, gt=0, description="a longer gradient is shortened to it")
    piece: int | None = Field(None, ge=1, description="samples that memory holds")

    @classmethod
    @contextmanager
    def saved(cls, parts: Parts, folder: Path, **settings: Any) -> Iterator["Assembled"]:
        """Write the parts into a folder for a block that may refuse them; the same parts into the same file.

        If the block raises, no new file is left; else none but this one.

        Raises:
            DataError: a data set cannot be read or pickled.
            ConfigError: a function cannot be pickled.
        """
        sources = (parts.train, parts.valid)
        ways = [(type(source.dataset), source.collate, source.target) for source in sources]
        functions = identity([parts.build, parts.loss, parts.measure, ways])
        digest = digest_json([functions, *(source.fingerprint() for source in sources)])
        problem = cls(data=folder, identity=digest, **settings)
        pickled, former = _pickled(parts), set(folder.glob("problem_*.pkl"))
        with replacing(problem.file) as temporary:
            temporary.write_bytes(pickled)
        try:
            yield problem
        except BaseException:
            if problem.file not in former:
                problem.file.unlink()
            raise
        for file in former - {problem.file}:
            file.unlink()

    @property
    def file(self) -> Path:
        """Where the parts are."""
        return self.data / f"problem_{self.identity[:12]}.pkl"

    @property
    def parts(self) -> Parts:
        """The parts, read once by each process.

        Raises:
            ArchiveError: the file is missing, or cannot be read.
        """
        if not self.file.exists():
            raise ArchiveError(
                f"{self.file} is missing: it holds the functions and the data that miha.tune was given. Name the "
                "folder of the run (--data), or call miha.tune again."
            )
        return _read(self.file, self.stamp())

    @property
    def max_gradient_norm(self) -> float | None:  # type: ignore[override]
        """The setting ``gradient_norm``."""
        return self.gradient_norm

    @property
    def largest_piece(self) -> int | None:  # type: ignore[override]
        """The setting ``piece``."""
        return self.piece

    def fingerprint(self) -> str:
        return digest_json([self.parts.train.fingerprint(), self.parts.valid.fingerprint()])

    def stamp(self) -> str:
        return stamp_files([self.file])

    def load(self, cache: Path, seed: int) -> Data:
        return Data(DatasetSamples(self.parts.train), DatasetSamples(self.parts.valid))

    def build_network(self) -> nn.Module:
        return self.parts.build()

    def arguments(self, batch: Batch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        inputs: Arguments = batch.inputs
        return inputs.positional, inputs.named

    def example(self, input_shape: tuple[int, ...]) -> Batch:
        source = self.parts.valid
        return source.read([0, min(1, len(source.dataset) - 1)], 0)

    def losses(self, output: Any, batch: Batch) -> tuple[Tensor, int]:
        n = count(batch)
        return self.parts.loss(output, batch.target).mean() * n, n

    def present(self, archive: Path, parallel_map: ParallelMap, thorough: bool = False) -> Presentation:
        return replace(super().present(archive, parallel_map, thorough), subject="Tuned network")

    def offered_losses(self) -> tuple[str, ...]:
        return self.losses_offered

    def validation(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor, int]:
        loss, n = self.losses(output, batch)
        if self.parts.measure is None:
            return loss, loss, n
        return loss, torch.as_tensor(self.parts.measure(output, batch.target), device=loss.device).float() * n, n


def _pickled(parts: Parts) -> bytes:
    try:
        return _dumped(parts)
    except Exception as whole:  # whatever a class of the user's may raise
        for name, part in zip(Parts._fields, parts, strict=True):
            try:
                _dumped(part)
            except Exception as error:
                raise _unpicklable(name, error) from error
        raise _unpicklable("together, what miha.tune was given", whole) from whole


def _dumped(value: Any) -> bytes:
    pickled: bytes = cloudpickle.dumps(value)
    return pickled


def _unpicklable(name: str, error: Exception) -> MihaError:
    if name in ("train", "valid"):
        return DataError(
            f"{name}: the data set cannot be pickled ({error}), and so not be given to the processes that train. "
            "Let __init__ keep paths alone, and open files when __getitem__ is first called."
        )
    return ConfigError(
        f"{name} cannot be pickled ({error}), and so not be given to the processes that train. Let it make what it "
        "needs when it is called."
    )


@functools.lru_cache(maxsize=1)
def _read(file: Path, stamp: str) -> Parts:
    try:
        parts: Parts = cloudpickle.loads(file.read_bytes())
    except Exception as error:  # whatever is missing here, e.g. a module of the user's
        raise ArchiveError(
            f"{file} cannot be read here ({type(error).__name__}: {error}). Set PYTHONPATH to the folder of your "
            "modules, or call miha.tune again."
        ) from error
    return parts
