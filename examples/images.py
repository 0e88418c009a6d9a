"""A small convolutional network on 8 x 8 digits (scikit-learn), whose training images are shifted at random."""

from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

import miha


class Shifted(Dataset[tuple[Tensor, Tensor]]):
    """Images moved by up to one pixel; what ``torch.randint`` draws depends on seed, epoch and image alone."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = functional.pad(images, (1, 1, 1, 1)), labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        down, right = torch.randint(3, (2,)).tolist()
        return self.images[index, :, down : down + 8, right : right + 8], self.labels[index]


def build() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        *(nn.Dropout(0.0), nn.Linear(128, 10)),
    )


def accuracy(output: Tensor, labels: Tensor) -> Tensor:
    return (output.argmax(1) == labels).float().mean()


def main(epochs: int = 60, out: Path = Path("runs/images"), **settings: Any) -> None:
    """Tune, train unchanged for as many epochs, and compare."""
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    train, valid = Shifted(images[:1000], labels[:1000]), TensorDataset(images[1000:], labels[1000:])
    task = {"build": build, "train": train, "valid": valid, "loss": functional.cross_entropy, "metric": accuracy}
    task["losses"] = ("cross_entropy", "label_smoothing", "focal")
    tuned = miha.tune(**task, epochs=epochs, run_dir=out / "tuned", **settings)
    unchanged = miha.tune(**task, epochs=epochs, run_dir=out / "unchanged", unchanged=True, **settings)
    print("unchanged", unchanged.scores, "\ntuned    ", tuned.scores)
    tuned.plot(against=unchanged).savefig(out / "history.png")


if __name__ == "__main__":  # candidates train in processes of their own, which import this file
    main()
