"""An LSTM that foretells the next value of a noisy series from the 30 before."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

import miha

WINDOW = 30


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Each window of a series, and the value that follows it; the series itself may lie in a file."""

    def __init__(self, series: Tensor) -> None:
        self.series = series

    def __len__(self) -> int:
        return len(self.series) - WINDOW

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.series[index : index + WINDOW, None], self.series[index + WINDOW, None]


class Forecaster(nn.Module):
    """The activation is a module, so that it can be changed."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 32, batch_first=True)
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Dropout(0.0), nn.Linear(32, 1))

    def forward(self, window: Tensor) -> Tensor:
        output: Tensor = self.head(self.lstm(window)[0][:, -1])
        return output


def main(epochs: int = 60, out: Path = Path("runs/series"), **settings: Any) -> None:
    """Tune, train unchanged for as many epochs, and compare."""
    time = torch.arange(1500.0)
    waves = (time / 4).sin() + 0.5 * (time / 11).sin() * (time / 150).sin()
    series = waves + 0.1 * torch.randn(1500, generator=torch.Generator().manual_seed(0))
    task = {"build": Forecaster, "train": Windows(series[:1000]), "valid": Windows(series[1000:])}
    task |= {"loss": functional.mse_loss, "max_gradient_norm": 1.0}
    tuned = miha.tune(**task, epochs=epochs, run_dir=out / "tuned", **settings)
    unchanged = miha.tune(**task, epochs=epochs, run_dir=out / "unchanged", unchanged=True, **settings)
    print("unchanged", unchanged.scores, "\ntuned    ", tuned.scores, "\nnoise     0.01")
    tuned.plot(against=unchanged).savefig(out / "history.png")


if __name__ == "__main__":  # candidates train in processes of their own, which import this file
    main()
