"""A network with several inputs: two pictures of digits (scikit-learn), and whether to add or to subtract them."""

from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

import miha


class Sums(Dataset[dict[str, Tensor]]):
    """Samples are dictionaries; all but ``result`` go to the network by name."""

    def __init__(self, images: Tensor, labels: Tensor, number: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images, self.labels = images, labels
        self.pairs = torch.randint(len(images), (number, 2), generator=generator)
        self.signs = torch.randint(2, (number, 1), generator=generator) * 2.0 - 1

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        (one, two), sign = self.pairs[index], self.signs[index]
        result = self.labels[one] + sign * self.labels[two]
        return {"one": self.images[one], "two": self.images[two], "sign": sign, "result": result}


class Calculator(nn.Module):
    """Both pictures are read by the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(65, 64), nn.ReLU(), nn.Dropout(0.0), nn.Linear(64, 1))

    def forward(self, one: Tensor, two: Tensor, sign: Tensor) -> Tensor:
        output: Tensor = self.head(torch.cat([self.read(one), self.read(two), sign], dim=1))
        return output


def main(epochs: int = 60, out: Path = Path("runs/two_inputs"), **settings: Any) -> None:
    """Tune, train unchanged for as many epochs, and compare."""
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    train, valid = Sums(images[:1000], labels[:1000], 2000), Sums(images[1000:], labels[1000:], 500)
    task = {"build": Calculator, "train": train, "valid": valid, "loss": functional.mse_loss, "target": "result"}
    tuned = miha.tune(**task, epochs=epochs, run_dir=out / "tuned", **settings)
    unchanged = miha.tune(**task, epochs=epochs, run_dir=out / "unchanged", unchanged=True, **settings)
    print("unchanged", unchanged.scores, "\ntuned    ", tuned.scores)
    tuned.plot(against=unchanged).savefig(out / "history.png")


if __name__ == "__main__":  # candidates train in processes of their own, which import this file
    main()
