"""What is known of one finished stage; every archive carries its own record."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from miha.evolution.hyperparameters import Hyperparameters

StageKind = Literal["initial", "candidate", "fixing", "final"]


class Epoch(BaseModel):
    """One epoch of training.

    ``epoch`` counts along the mainline from 1: a candidate continues the count of its parent. Losses are means per
    sample (rasters: per target pixel); None stands for a number that is not finite. ``lr`` is the learning rate at the
    start of the epoch.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    train_loss: float | None
    valid_loss: float | None
    metrics: dict[str, float | None]
    batch_size: int
    optimizer: str
    lr: float


class StageRecord(BaseModel):
    """One trained stage: where it belongs, what it was trained with, and its curve.

    ``name`` is the file name without ``_model.zip`` or ``model_``: ``init``, ``1``, ``1_2``, ``final``.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    stage: StageKind
    cycle: int
    candidate: int | None
    change: str
    digest: str
    parent: str | None
    hyperparameters: Hyperparameters
    epochs: tuple[Epoch, ...] = Field(min_length=1)

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
    def last_epoch(self) -> int:
        """Mainline number of the last epoch."""
        return self.epochs[-1].epoch
