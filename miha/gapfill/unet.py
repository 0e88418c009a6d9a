"""Small U-Nets (Ronneberger, Fischer and Brox 2015, MICCAI) for maps of any height and width.

They normalise without spatial statistics at inference (BatchNorm's running ones), so that a pixel's value depends on
its surroundings and not on how much of the scene was given.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Several networks of one shape side by side, which share nothing but their inputs; each starts as the zero map.

    Maps (n, channels, height, width) to (n, members, height, width). Once trained, the share ``share`` of that is used.

    Args:
        channels: input channels.
        width: channels of the first level of each; each deeper level has twice as many.
        levels: number of resolutions, each half the one above.
        members: how many networks.
    """

    share: Tensor

    def __init__(self, channels: int, width: int = 24, levels: int = 3, members: int = 1) -> None:
        super().__init__()
        self.members = members
        widths = [members * width * 2**level for level in range(levels)]
        self.encoder = nn.ModuleList(
            _block(before, after, members if level else 1, members)
            for level, (before, after) in enumerate(pairwise([channels, *widths]))
        )
        self.decoder = nn.ModuleList(
            _block(widths[level] + widths[level + 1], widths[level], members, members) for level in range(levels - 1)
        )
        self.dropout = nn.Dropout2d(0.0)  # behind the last BatchNorm, whose statistics it would falsify
        self.head = nn.Conv2d(widths[0], members, kernel_size=1, groups=members, bias=False)
        self.linear = nn.Conv2d(channels, members, kernel_size=1)  # what is linear in the inputs has a short way
        self.output_activation = nn.Identity()
        self.register_buffer("share", torch.ones(()))
        for parameter in (*self.head.parameters(), *self.linear.parameters()):
            nn.init.zeros_(parameter)

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
            features = self.decoder[level](self._beside(skip, features))
        output: Tensor = self.output_activation(self.linear(inputs) + self.head(self.dropout(features)))
        return output if self.training else self.share * output

    def _beside(self, *features: Tensor) -> Tensor:
        """Features joined member by member, as grouped convolutions take them."""
        return torch.cat([part.unflatten(1, (self.members, -1)) for part in features], dim=2).flatten(1, 2)


def _block(before: int, after: int, groups: int, members: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False, groups=groups),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False, groups=members),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
