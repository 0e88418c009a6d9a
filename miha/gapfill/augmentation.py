"""What varies the samples of scenes from epoch to epoch: mirroring, noise, and the window that is seen."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from miha.gapfill.guess import Window
from miha.problems.samples import Batch
from miha.rasters.stack import Mask


def mirrored(maps: Tensor, chosen: Tensor) -> Tensor:
    """Each of n maps (n, …, height, width) mirrored left to right and upside down where ``chosen`` (n, 2) says so."""
    for number, axis in enumerate((-1, -2)):
        which = chosen[:, number].view(-1, *[1] * (maps.dim() - 1))
        maps = torch.where(which, maps.flip(axis), maps)
    return maps


def noisy(inputs: Tensor, channels: Sequence[int], std: float, draws: Tensor) -> Tensor:
    """Inputs (n, channels, height, width) with normal noise on some channels where they are not 0.

    The noise of a sample depends on its draw alone, of ``draws`` (n), uniform in 0 to 1.
    """
    inputs = inputs.clone()
    for sample, draw in zip(inputs, (draws * 2**24).long().tolist(), strict=True):
        seen = sample[channels]
        noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(draw))
        sample[channels] = seen + std * noise * (seen != 0)  # 0 stands for what is hidden
    return inputs


def windows_of(batch: Batch, side: int, places: Tensor) -> Batch:
    """Of each sample a window around one of its targets; ``places`` (n), from 0 to below 1, say around which."""
    assert batch.mask is not None, "gap filling has targets inside gaps alone"
    parts = []
    for inputs, target, mask, place in zip(batch.inputs, batch.target, batch.mask, places.tolist(), strict=True):
        hidden = mask.numpy().max(axis=0) > 0
        window = window_around(hidden, side, int(place * hidden.sum()))
        parts.append((inputs[:, *window], target[window], mask[:, *window]))
    return Batch(*(torch.stack(column) for column in zip(*parts, strict=True)))


def window_around(hidden: Mask, side: int, number: int) -> Window:
    """A window of at most ``side`` pixels a side around the hidden pixel of that number, counted row by row."""
    height, width = hidden.shape
    row, column = np.argwhere(hidden)[number]
    top = int(np.clip(row - side // 2, 0, max(0, height - side)))
    left = int(np.clip(column - side // 2, 0, max(0, width - side)))
    return slice(top, min(top + side, height)), slice(left, min(left + side, width))
