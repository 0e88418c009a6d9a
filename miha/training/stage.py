"""A stage is a pure function of its spec: ``run_stage(spec) -> record``, with an archive as its lasting result.

A stage whose archive is there, whole and of the same digest, is not trained again: not by a second run, a retry, or on
another machine.
"""

import platform
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from miha.events import EpochEnded, StageEnded, StageReused, StageStarted, publish
from miha.evolution.seeds import torch_seed
from miha.files import append_line
from miha.problems.evaluation import configure, load_weights
from miha.problems.samples import batch_sizes
from miha.records.archive import Archive, with_raw
from miha.records.record import Epoch, StageRecord
from miha.training.archives import read_if_whole, read_parent, save
from miha.training.averaging import RunningMean
from miha.training.loop import Trainer, network_to_device, seeded
from miha.training.optimizers import build_optimizer, carry_state, restore_state, state_of
from miha.training.soup import make_soup
from miha.training.spec import StageSpec
from miha.training.transition import Blend

_ONE_AT_A_TIME = threading.Lock()  # PyTorch has one random generator and one number of threads for a whole process


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
        stage = None if spec.members else _Stage(spec)
        started, done = time.monotonic(), stage.done if stage else 0
        publish(StageStarted(spec.stage, spec.change, spec.epochs, done))
        record = stage.run() if stage else make_soup(spec)
        seconds = time.monotonic() - started
        append_line(Path(spec.run_dir) / "timings.csv", f"{spec.name},{spec.epochs},{seconds:.3f},{platform.node()}")
        publish(StageEnded(spec.stage, record.change, seconds, record.losses[-1]))
        return record


class _Stage:
    """The moving parts of one stage while it trains."""

    def __init__(self, spec: StageSpec) -> None:
        self.spec, self.opened = spec, spec.problem.opened(spec.seed)
        begun, point = self._begun(), spec.hyperparameters
        self.epochs: list[Epoch] = list(begun.manifest.record.epochs) if begun else []
        self.blends: list[Blend] = []
        origin = begun or (read_parent(spec, spec.parent) if spec.parent else None)
        first = spec.pretrained.read().weights if spec.pretrained and not origin else None
        self.network = self._network(origin.raw_weights if origin else first)
        self.optimizer = build_optimizer(self.network, point)
        if origin:
            kept = carry_state(origin.optimizer_state, origin.manifest.record.hyperparameters, point)
            restore_state(self.network, self.optimizer, kept)
        self.average = self._average(begun) if spec.averaging else None

    def _average(self, begun: Archive | None) -> RunningMean:
        """The mean of the weights, as far as it has come; a stage begins one of its own."""
        steps = len(batch_sizes(len(self.opened.data.train), self.spec.hyperparameters.batch_size))
        mean = self._network(begun.weights if begun else None)
        return RunningMean(self.network, mean, max(1, round(self.spec.averaging * steps)), steps * len(self.epochs))

    def _network(self, weights: Mapping[str, Tensor] | None) -> nn.Module:
        """The network on its device, as the hyperparameters say; without weights given, fresh ones."""
        spec, problem = self.spec, self.opened.problem
        with seeded(torch_seed(spec.seed, "weights")):
            network = problem.build_network()
        if weights is not None:
            load_weights(network, weights)
        former = spec.transition.former(network) if spec.transition else {}
        configure(network, spec.hyperparameters)
        network = network_to_device(network, spec.compute.device, problem.channels_last)
        if spec.transition:
            self.blends.append(Blend(network, former, spec.transition.epochs))
        return network

    def _begun(self) -> Archive | None:
        """What an interrupted try left, or else the heat."""
        spec = self.spec
        if checkpoint := read_if_whole(spec.checkpoint, spec.digest):
            return checkpoint
        return read_if_whole(spec.heat.archive, spec.heat.digest) if spec.heat_epochs else None

    @property
    def done(self) -> int:
        """How many of its epochs were trained before."""
        return max(0, len(self.epochs) - self.spec.heat_epochs)

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
            spec.order,
            self.average,
            self.blends,
        )
        saved = time.monotonic()
        for epoch in trainer.epochs(spec.span, done=len(self.epochs), until=spec.until):
            self.epochs.append(epoch)
            usable = epoch.train_loss is not None and epoch.valid_loss is not None
            if usable and epoch.epoch < spec.last and time.monotonic() - saved >= spec.checkpoint_every:
                self._save(spec.checkpoint)
                saved = time.monotonic()
            publish(EpochEnded(spec.stage, epoch))
        record = self._save(spec.archive)
        spec.checkpoint.unlink(missing_ok=True)
        return record

    def _save(self, path: Path) -> StageRecord:
        weights, state = self.network.state_dict(), state_of(self.network, self.optimizer)
        if self.average:
            weights, state = self.average.mean.state_dict(), with_raw(state, weights)
        return save(path, self.spec, self.opened, self.epochs, weights, state)
