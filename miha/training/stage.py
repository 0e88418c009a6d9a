"""A stage is a pure function of its spec: ``run_stage(spec) -> record``, with an archive as its lasting result.

A stage whose archive is there, whole and of the same digest, is not trained again: not by a second run, a retry, or on
another machine.
"""

import platform
import threading
import time
from pathlib import Path

from torch import nn

from miha.errors import ArchiveError
from miha.events import EpochEnded, StageEnded, StageReused, StageStarted, publish
from miha.evolution.seeds import torch_seed
from miha.files import append_line
from miha.problems.evaluation import configure, load_weights
from miha.records.archive import Archive, Manifest, read_archive, write_archive
from miha.records.record import Epoch, StageRecord
from miha.training.loop import Trainer, network_to_device, seeded
from miha.training.optimizers import build_optimizer, carry_state, restore_state, state_of
from miha.training.spec import Parent, StageSpec

_ONE_AT_A_TIME = threading.Lock()  # PyTorch has one random generator and one number of threads for a whole process


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
        DataError: the data changed since the run began.
        MihaError: the archive cannot be written.
    """
    if archive := read_if_whole(spec.archive, spec.digest):
        spec.checkpoint.unlink(missing_ok=True)  # its process may have died between the two
        publish(StageReused(spec.stage, spec.change, spec.epochs))
        return archive.manifest.record
    with _ONE_AT_A_TIME, spec.compute.reproducible():
        return _Stage(spec).run()


class _Stage:
    """The moving parts of one stage while it trains."""

    def __init__(self, spec: StageSpec) -> None:
        self.spec, self.opened = spec, spec.problem.opened(spec.seed)
        problem, point = self.opened.problem, spec.hyperparameters
        with seeded(torch_seed(spec.seed, "weights")):
            network = problem.build_network()
        self.epochs: list[Epoch] = []
        origin = read_if_whole(spec.checkpoint, spec.digest)
        if origin:
            self.epochs = list(origin.manifest.record.epochs)
        elif spec.parent:
            origin = self._parent(spec.parent)
        if origin:
            load_weights(network, origin.weights)
        elif spec.pretrained:
            load_weights(network, spec.pretrained.read().weights)
        configure(network, point)
        self.network: nn.Module = network_to_device(network, spec.compute.device, problem.channels_last)
        self.optimizer = build_optimizer(self.network, point)
        if origin:
            kept = carry_state(origin.optimizer, origin.manifest.record.hyperparameters, point)
            restore_state(self.network, self.optimizer, kept)

    def _parent(self, parent: Parent) -> Archive:
        archive = read_archive(parent.stage.archive(Path(self.spec.run_dir)))
        if archive.manifest.record.digest != parent.digest:
            raise ArchiveError(
                f"{self.spec.name} descends from {parent.stage}, but its archive is another one. Run optimize again."
            )
        return archive

    def run(self) -> StageRecord:
        spec, opened = self.spec, self.opened
        trainer = Trainer(
            self.network,
            self.optimizer,
            opened.problem,
            opened.data,
            spec.hyperparameters,
            spec.seed,
            spec.compute,
        )
        started = saved = time.monotonic()
        publish(StageStarted(spec.stage, spec.change, spec.epochs, len(self.epochs)))
        for epoch in trainer.epochs(spec.span, done=len(self.epochs)):
            self.epochs.append(epoch)
            usable = epoch.train_loss is not None and epoch.valid_loss is not None
            if usable and epoch.epoch < spec.span.last and time.monotonic() - saved >= spec.checkpoint_every:
                self._save(spec.checkpoint)
                saved = time.monotonic()
            publish(EpochEnded(spec.stage, epoch))
        record = self._save(spec.archive)
        spec.checkpoint.unlink(missing_ok=True)
        seconds = time.monotonic() - started
        append_line(
            Path(spec.run_dir) / "timings.csv", f"{spec.name},{len(self.epochs)},{seconds:.3f},{platform.node()}"
        )
        publish(StageEnded(spec.stage, spec.change, seconds, record.losses[-1]))
        return record

    def _save(self, path: Path) -> StageRecord:
        record = self.spec.record(self.epochs)
        manifest = Manifest(
            record=record,
            problem=self.opened.problem.settings(),
            input_shape=self.opened.data.input_shape,
            extras=self.opened.extras,
        )
        write_archive(path, manifest, self.network.state_dict(), state_of(self.network, self.optimizer))
        return record
