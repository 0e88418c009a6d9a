"""A stage is a pure function of its spec: ``run_stage(spec) -> record``, with an archive as its lasting result.

A spec is JSON. Its digest covers all that decides the weights and nothing else, so that a stage whose archive is
there, whole and of the same digest, is not trained again: not by a second run, a retry, or on another machine.
"""

import functools
import inspect
import platform
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from miha.errors import ArchiveError, DataError
from miha.evolution.hyperparameters import Hyperparameters, Offer
from miha.evolution.seeds import torch_seed
from miha.files import append_line, digest_json
from miha.problems import Problem, build_problem
from miha.problems.base import (
    Data,
    find_activations,
    find_dropouts,
    input_shape,
    load_weights,
    set_activations,
    set_dropout,
)
from miha.progress import publish
from miha.records.archive import FORMAT_VERSION, Archive, Manifest, archive_path, read_archive, write_archive
from miha.records.record import Epoch, StageKind, StageRecord
from miha.threads import fixed_threads
from miha.training.device import Precision, reproducible
from miha.training.loop import network_to_device, seeded, train_epochs
from miha.training.optimizers import build_optimizer, carry_state, restore_state, state_of

_ONE_AT_A_TIME = threading.Lock()  # PyTorch has one random generator and one number of threads for a whole process


class ProblemSpec(BaseModel):
    """How another process builds the problem and finds its samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: dict[str, Any]
    fingerprint: str  # of the data
    network: str  # digest of the network's structure, and of the source of the user's own classes
    data: str  # a path, not in the digest
    cache: str  # a path, not in the digest

    @classmethod
    def of(cls, problem: Problem, cache: Path) -> "ProblemSpec":
        """Describe ``problem``; reads its data once for the fingerprint."""
        return cls(
            settings=problem.settings(),
            network=_digest_code(problem),
            fingerprint=problem.fingerprint(),
            data=str(problem.data),
            cache=str(cache),
        )

    def build(self) -> Problem:
        """The problem itself."""
        return build_problem({**self.settings, "data": self.data})


def _digest_code(problem: Problem) -> str:
    """Changes when the network does, or the source of a class of the user's own: of the problem, or in the network."""
    with seeded(0):
        network = problem.build_network()
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    classes = {kind for one in (problem, *network.modules()) for kind in type(one).__mro__}
    own = sorted(_source(kind) for kind in classes if kind.__module__.partition(".")[0] not in _LIBRARIES)
    return digest_json([repr(network), shapes, problem.channels_last, own])


_LIBRARIES = {*sys.stdlib_module_names, "miha", "pydantic", "torch"}  # where a user's own classes are not


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made at run time, e.g. by torch.fx
        return kind.__qualname__


class StageSpec(BaseModel):
    """All that one stage needs to be trained, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stage: StageKind
    cycle: int
    candidate: int | None = None
    change: str
    parent: str | None  # name of the parent's stage
    parent_digest: str | None
    hyperparameters: Hyperparameters
    first_epoch: int  # mainline number, from 1
    epochs: int = Field(ge=1)
    annealing: bool = Field(False, description="let the learning rate fall to zero along a cosine")
    seed: int
    problem: ProblemSpec
    threads: int
    device: str
    precision: Precision
    checkpoint_every: float = Field(10.0, description="seconds of training between epoch checkpoints")
    timeout: float | None = Field(None, description="seconds after which the stage counts as hung")
    run_dir: str

    @property
    def digest(self) -> str:
        """SHA-256 over what decides the result; not over names, paths, or the clock."""
        said = self.model_dump(
            mode="json",
            include={
                "parent_digest",
                "hyperparameters",
                "first_epoch",
                "epochs",
                "annealing",
                "seed",
                "threads",
                "device",
                "precision",
            },
        )
        said["problem"] = self.problem.model_dump(mode="json", include={"settings", "fingerprint", "network"})
        said["format_version"] = FORMAT_VERSION
        return digest_json(said)

    @property
    def archive(self) -> Path:
        """Where the archive of this stage lies."""
        return archive_path(Path(self.run_dir), self.name)

    @property
    def checkpoint(self) -> Path:
        """Where a long stage keeps its last epoch."""
        return self.archive.with_name(f"{self.name}_checkpoint.zip")


def longest_first(specs: Sequence[StageSpec]) -> list[StageSpec]:
    """The order to start candidates in: one of small batches has the most steps, and last it would be waited for."""
    return sorted(specs, key=lambda spec: spec.hyperparameters.batch_size)


def read_if_whole(path: Path, digest: str) -> Archive | None:
    """An archive if it is there, whole and of the stage with this digest; None if that stage must be trained."""
    if not path.exists():
        return None
    try:
        archive = read_archive(path)
    except ArchiveError:
        return None  # damaged: what it held is trained again, and the file replaced
    return archive if archive.manifest.record.digest == digest else None


def run_stage(spec: StageSpec) -> StageRecord:
    """Train one stage, or return its record if that was done before. Leaves the archive behind.

    Raises:
        ArchiveError: the parent's archive is missing, altered, or not the one of the spec.
        MihaError: the archive cannot be written.
    """
    if archive := read_if_whole(spec.archive, spec.digest):
        spec.checkpoint.unlink(missing_ok=True)  # its process may have died between the two
        publish("stage_reused", stage=spec.name, change=spec.change, epochs=spec.epochs)
        return archive.manifest.record
    with _ONE_AT_A_TIME, fixed_threads(spec.threads), reproducible(spec.device):
        return _Stage(spec).run()


class _Stage:
    """The moving parts of one stage while it trains."""

    def __init__(self, spec: StageSpec) -> None:
        self.spec = spec
        self.problem, self.data, self.extras = load_problem(spec.problem, spec.seed)
        with seeded(torch_seed(spec.seed, "weights")):
            network = self.problem.build_network()
        self.layers = self.problem.layers(network)
        self.epochs: list[Epoch] = []
        if resumed := read_if_whole(spec.checkpoint, spec.digest):
            self._continue(network, resumed)
            self.epochs = list(resumed.manifest.record.epochs)
        elif spec.parent:
            self._continue(network, self._parent(spec.parent))
        else:
            configure(network, spec.hyperparameters)
            self.network = self._placed(network)
            self.optimizer = build_optimizer(self.network, spec.hyperparameters)

    def _placed(self, network: nn.Module) -> nn.Module:
        return network_to_device(network, self.spec.device, self.problem.channels_last)

    def _parent(self, name: str) -> Archive:
        parent = read_archive(archive_path(Path(self.spec.run_dir), name))
        if parent.manifest.record.digest != self.spec.parent_digest:
            raise ArchiveError(
                f"{self.spec.name} descends from {name}, but its archive is another one. Run optimize again."
            )
        return parent

    def _continue(self, network: nn.Module, archive: Archive) -> None:
        """Take over weights and what of the optimizer's state outlives the change of hyperparameters."""
        hyperparameters = self.spec.hyperparameters
        load_weights(network, archive.weights)
        configure(network, hyperparameters)
        self.network = self._placed(network)
        self.optimizer = build_optimizer(self.network, hyperparameters)
        before = archive.manifest.record.hyperparameters
        restore_state(self.network, self.optimizer, carry_state(archive.optimizer, before, hyperparameters))

    def run(self) -> StageRecord:
        spec = self.spec
        last = spec.first_epoch + spec.epochs - 1
        first = self.epochs[-1].epoch + 1 if self.epochs else spec.first_epoch
        started = saved = time.monotonic()
        publish("stage_started", stage=spec.name, change=spec.change, epochs=spec.epochs, done=len(self.epochs))
        for epoch in train_epochs(
            self.network,
            self.optimizer,
            self.problem,
            self.data,
            spec.hyperparameters,
            seed=spec.seed,
            first=first,
            last=last,
            device=spec.device,
            precision=spec.precision,
            annealed=(spec.first_epoch, last) if spec.annealing else None,
        ):
            self.epochs.append(epoch)
            usable = epoch.train_loss is not None and epoch.valid_loss is not None
            if usable and epoch.epoch < last and time.monotonic() - saved >= spec.checkpoint_every:
                self._save(spec.checkpoint)
                saved = time.monotonic()
            publish("epoch", stage=spec.name, **epoch.model_dump())
        record = self._save(spec.archive)
        spec.checkpoint.unlink(missing_ok=True)
        seconds = time.monotonic() - started
        append_line(
            Path(spec.run_dir) / "timings.csv", f"{spec.name},{len(self.epochs)},{seconds:.3f},{platform.node()}"
        )
        publish("stage_finished", stage=spec.name, change=spec.change, seconds=seconds, valid_loss=record.losses[-1])
        return record

    def _save(self, path: Path) -> StageRecord:
        spec = self.spec
        record = StageRecord(
            name=spec.name,
            stage=spec.stage,
            cycle=spec.cycle,
            candidate=spec.candidate,
            change=spec.change,
            digest=spec.digest,
            parent=spec.parent,
            hyperparameters=spec.hyperparameters,
            epochs=tuple(self.epochs),
        )
        manifest = Manifest(
            record=record,
            problem=self.problem.settings(),
            input_shape=input_shape(self.data),
            layers=self.layers,
            extras=self.extras,
        )
        write_archive(path, manifest, self.network.state_dict(), state_of(self.network, self.optimizer))
        return record


def configure(network: nn.Module, hyperparameters: Hyperparameters) -> None:
    """Give a network the activations and the dropout that the hyperparameters say, in place."""
    set_activations(network, hyperparameters.activations)
    set_dropout(network, hyperparameters.dropout)


@functools.lru_cache(maxsize=1)
def _load(spec_json: str, seed: int) -> tuple[Problem, Data, dict[str, Any]]:
    spec = ProblemSpec.model_validate_json(spec_json)
    problem, cache = spec.build(), Path(spec.cache)
    if problem.fingerprint() != spec.fingerprint:
        raise DataError(f"{spec.data} changed after the run had begun. Put it back as it was, or begin a new run.")
    return problem, problem.load(cache, seed), problem.extras(cache, seed)


def load_problem(spec: ProblemSpec, seed: int) -> tuple[Problem, Data, dict[str, Any]]:
    """Problem, samples and archive extras; a process loads them once and keeps them for the next stage."""
    return _load(spec.model_dump_json(), seed)


def describe_network(spec: ProblemSpec) -> tuple[dict[str, str], Offer]:
    """Of a problem's fresh network: the activation of each layer that may change, and all that may change."""
    problem = spec.build()
    with seeded(0):
        network = problem.build_network()
    layers, present = problem.layers(network), find_activations(network)
    offer = Offer(
        layers=layers,
        losses=problem.offered_losses(),
        dropouts=tuple(sorted(set(find_dropouts(network).values()))),
        augmentation=problem.draws_per_distortion > 0,
    )
    return {path: present[path] for path in layers}, offer
