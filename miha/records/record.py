"""What is known of one finished stage; every archive carries its own record."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from miha.evolution.change import Change
from miha.evolution.point import Hyperparameters

StageKind = Literal["base", "initial", "heat", "candidate", "soup", "fixing", "final"]


class StageId(BaseModel):
    """Which stage of a run: its kind, its cycle (initial 0, final the last one trained), the number of a candidate.

    The base, of cycle 0 too, is the network before any training. A heat is what a candidate trains before the worse
    half is stopped; a soup is the mean of candidates, numbered after them.
    """

    model_config = ConfigDict(frozen=True)

    kind: StageKind
    cycle: int
    candidate: int | None = None

    @property
    def name(self) -> str:
        """What its files are called: ``base``, ``init``, ``1_2`` (cycle and candidate), ``1`` (fixing), ``final``, …"""
        if self.kind == "initial":
            return "init"
        if self.kind in ("base", "final"):
            return self.kind
        number = str(self.cycle) if self.candidate is None else f"{self.cycle}_{self.candidate}"
        return f"{number}_heat" if self.kind == "heat" else number

    def archive(self, run_dir: Path) -> Path:
        """Where its archive lies: ``population/1_2_model.zip`` or ``model/model_1.zip``."""
        if self.kind in ("heat", "candidate", "soup"):
            return run_dir / "population" / f"{self.name}_model.zip"
        return model_path(run_dir, self.name)

    def __str__(self) -> str:
        return self.name


def model_path(run_dir: Path, name: str) -> Path:
    """Where an archive of the mainline lies; beside the stages' there is the ``best``."""
    return run_dir / "model" / f"model_{name}.zip"


class Epoch(BaseModel):
    """One epoch of training.

    ``epoch`` counts along the mainline from 1: a candidate continues the count of its parent. Epoch 0 is the network
    before any training. Losses are means per sample (rasters: per target pixel); None stands for a number that is not
    finite, and for the training loss where nothing was trained (epoch 0, a soup). ``shares`` of the blocks of
    the validation samples add up to the validation loss; there are none where it is not finite. ``lr`` is the learning
    rate at the start of the epoch.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    train_loss: float | None
    valid_loss: float | None
    shares: tuple[float, ...] = ()
    metrics: dict[str, float | None]
    batch_size: int
    optimizer: str
    lr: float


class StageRecord(BaseModel):
    """One trained stage: which it is, whom it descends from, what it was trained with, and its curve."""

    model_config = ConfigDict(frozen=True)

    stage: StageId
    parent: StageId | None
    change: Change
    digest: str
    hyperparameters: Hyperparameters
    epochs: tuple[Epoch, ...] = Field(min_length=1)

    @property
    def name(self) -> str:
        """What its files are called after."""
        return self.stage.name

    @property
    def parents(self) -> tuple[StageId, ...]:
        """Whom it descends from: of a soup several, the one whose hyperparameters go on first."""
        if self.stage.kind == "soup":
            members = (StageId(kind="candidate", cycle=self.stage.cycle, candidate=one) for one in self.change.members)
            return tuple(members)
        return (self.parent,) if self.parent else ()

    @property
    def losses(self) -> tuple[float | None, ...]:
        """Validation loss after each epoch."""
        return tuple(epoch.valid_loss for epoch in self.epochs)

    @property
    def valid_loss(self) -> float:
        """Validation loss after the last epoch; infinite if it is not a number."""
        last = self.losses[-1]
        return float("inf") if last is None else last

    @property
    def shares(self) -> tuple[float, ...]:
        """What each block of the validation samples adds to :attr:`valid_loss`."""
        return self.epochs[-1].shares

    @property
    def last_epoch(self) -> int:
        """Mainline number of the last epoch."""
        return self.epochs[-1].epoch
