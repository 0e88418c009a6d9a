"""The article's convolutional autoencoder for gap filling: four 2x2 convolutions, 16, 32, 16 and 1 channels.

The article fixed its upsampling factors to one scene size; here the output takes the size of the input.
"""

from torch import Tensor, nn
from torch.nn import functional


class Autoencoder(nn.Module):
    """Maps (n, 1, height, width) to (n, height, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 16, kernel_size=2, padding=1), nn.ReLU(), nn.MaxPool2d(2, stride=2))
        self.layer2 = nn.Sequential(nn.Conv2d(16, 32, kernel_size=2, padding=1), nn.ReLU(), nn.MaxPool2d(2, stride=1))
        self.layer3 = nn.Sequential(nn.Conv2d(32, 16, kernel_size=2, padding=1), nn.ReLU())
        self.dropout = nn.Dropout(0.1)
        self.layer4 = nn.Sequential(nn.Conv2d(16, 1, kernel_size=2, padding=1), nn.ReLU())

    def forward(self, inputs: Tensor) -> Tensor:
        height, width = inputs.shape[-2:]
        features = self.layer3(self.layer2(self.layer1(inputs)))
        features = functional.interpolate(features, size=(height // 2, width // 2), mode="nearest")
        features = self.layer4(self.dropout(features))
        features = functional.interpolate(features, size=(height, width), mode="bilinear", align_corners=False)
        return features[:, 0]
