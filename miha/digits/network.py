"""The article's network for digits: 784 pixels, 400 hidden units, 10 classes."""

from torch import Tensor, nn


class FeedForward(nn.Module):
    """Maps (n, 784) to logarithms of class probabilities (n, 10)."""

    def __init__(self, hidden: int = 400) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Dropout(0.0))
        self.layer2 = nn.Sequential(nn.Linear(hidden, 10), nn.LogSoftmax(dim=1))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.layer2(self.layer1(inputs))
        return output
