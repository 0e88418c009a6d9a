"""What the report of a run shows of digits: accuracy on the test digits, and those that were misread."""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from miha.problems.presentation import Plot, Presentation
from miha.problems.samples import Samples
from miha.threads import fixed_threads

SHOWN = 24  # misread digits
Z = 1.96  # normal quantile of a 95 % interval


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22, 209)."""
    share, spread = right / count, Z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return middle - half, middle + half


def present_digits(network: nn.Module, test: Samples) -> Presentation:
    """Judge a network on test digits, and draw some of those that it misreads."""
    inputs, target, _ = test.tensors
    with torch.inference_mode(), fixed_threads(1):
        read = network(inputs).argmax(dim=1)
    wrong = torch.nonzero(read != target).ravel()
    count, right = len(target), len(target) - len(wrong)
    low, high = wilson(right, count)
    accuracy = f"{100 * right / count:.2f} %"
    return Presentation(
        title="Misread digits",
        subject="Handwritten digits",
        what=f"A network learned to read handwritten digits. It was tested on {count:,} digits that it never saw.",
        headline=accuracy,
        meaning=f"of {count:,} test digits read right (95 % interval {100 * low:.2f} to {100 * high:.2f} %)",
        plots=[_misread(inputs[wrong[:SHOWN]], target[wrong[:SHOWN]], read[wrong[:SHOWN]], len(wrong))],
    )


def _misread(images: Tensor, target: Tensor, read: Tensor, total: int) -> Plot:
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    panels = figure.subplots(4, SHOWN // 4)
    for axes in panels.flat:
        axes.axis("off")
    for axes, image, true, taken in zip(panels.flat, images, target.tolist(), read.tolist(), strict=False):
        axes.imshow(np.asarray(image).reshape(28, 28), cmap="Greys", interpolation="nearest")
        axes.set_title(f"{true} read as {taken}", fontsize=8)
    alt = f"The first {len(images)} of {total} misread test digits, each with its true class and what it was taken for."
    return Plot(f"{len(images)} of the {total} misread test digits", alt, figure)
