"""Tabular regression: how far diabetes has progressed after a year, from ten measurements (scikit-learn)."""

from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import miha


def build() -> nn.Module:
    return nn.Sequential(
        nn.Linear(10, 64), nn.ReLU(), nn.Dropout(0.0), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.0), nn.Linear(64, 1)
    )


def error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error, in the units of the target, whose standard deviation is 77."""
    return 77 * (output - target).abs().mean()


def data() -> tuple[TensorDataset, TensorDataset]:
    """300 patients to train on, 142 to validate on."""
    inputs, target = (torch.tensor(part, dtype=torch.float32) for part in load_diabetes(return_X_y=True))
    inputs, target = inputs / inputs.std(0), (target[:, None] - 152) / 77
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    train, valid = order[:300], order[300:]
    return TensorDataset(inputs[train], target[train]), TensorDataset(inputs[valid], target[valid])


def main(epochs: int = 60, out: Path = Path("runs/regression"), **settings: Any) -> None:
    """Tune, train unchanged for as many epochs, and compare."""
    train, valid = data()
    task = {"build": build, "train": train, "valid": valid, "loss": functional.mse_loss, "metric": error}
    tuned = miha.tune(**task, epochs=epochs, run_dir=out / "tuned", **settings)
    unchanged = miha.tune(**task, epochs=epochs, run_dir=out / "unchanged", unchanged=True, **settings)
    print("unchanged", unchanged.scores)
    print("tuned    ", tuned.scores)
    tuned.plot(against=unchanged).savefig(out / "history.png")


if __name__ == "__main__":  # candidates train in processes of their own, which import this file
    main()
