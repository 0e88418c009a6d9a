"""A small U-Net (Ronneberger, Fischer and Brox 2015, MICCAI) for maps of any height and width.

It normalises without spatial statistics at inference (BatchNorm's running ones), so that a pixel's value depends on
its surroundings and not on how much of the scene was given.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Maps (n, channels, height, width) to (n, height, width); starts as the zero map.

    Args:
        channels: input channels.
        width: channels of the first level; each deeper level has twice as many.
        levels: number of resolutions, each half the one above.
    """

    def __init__(self, channels: int, width: int = 24, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.encoder = nn.ModuleList(_block(before, after) for before, after in pairwise([channels, *widths]))
        self.decoder = nn.ModuleList(
            _block(widths[level] + widths[level + 1], widths[level]) for level in range(levels - 1)
        )
        self.dropout = nn.Dropout2d(0.0)  # behind the last BatchNorm, whose statistics it would falsify
        self.head = nn.Conv2d(channels + width, 1, kernel_size=1)  # what is linear in the inputs has a short way
        self.output_activation = nn.Identity()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        features, skips = inputs, []
        for level, block in enumerate(self.encoder):
            if level:
                features = functional.max_pool2d(features, 2, ceil_mode=True)
            features = block(features)
            skips.append(features)
        skips.pop()
        for level in reversed(range(len(self.decoder))):
            skip = skips.pop()
            features = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = features[..., : skip.shape[-2], : skip.shape[-1]]
            features = self.decoder[level](torch.cat([skip, features], dim=1))
        output: Tensor = self.output_activation(self.head(torch.cat([inputs, self.dropout(features)], dim=1)))
        return output[:, 0]


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
