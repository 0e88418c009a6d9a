"""Distortion of digits, as people's hands differ."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from miha.digits.files import BACKGROUND, PIXELS

_PIXEL = 2 / 28  # a picture reaches from -1 to 1

# How far an augmentation of 1 goes at most: turned and scaled as far as in Cireşan et al. 2010 (Neural Computation 22,
# 3207), and bent about as much (1 pixel, one standard deviation). Shifted little, since these digits are centred.
ROTATION = math.radians(15)
SCALING = 0.15  # of either side
SHEAR = 0.2  # columns a row
SHIFT = 1.0  # pixels
KNOTS = 5  # of the elastic distortion, to a side; each bends what lies around it by itself
ELASTIC = 1.2  # by how much at the knot, along either axis, pixels; what neighbours do adds up


def distort_digits(inputs: Tensor, amounts: Tensor) -> Tensor:
    """Rotate, scale, shear, shift and bend digits, each in its own way; after Simard et al. 2003 (ICDAR, section 2).

    Their elastic field is smoothed noise; here it is the sum of bells at the knots of a grid, which costs one product.

    Args:
        inputs: (n, 784), standardised; what comes in from outside is background.
        amounts: (n, 6 + 2 KNOTS²), -1 to 1: of the rotation, the scales of both sides, the shear, the shifts to both
            sides, then for each knot how far to the right, and for each how far down its surroundings are looked for.
    """
    angle, wider, higher, shear, right, down = amounts[:, :6].unbind(1)
    cos, sin = torch.cos(ROTATION * angle), torch.sin(ROTATION * angle)
    wider, higher, shear = 1 + SCALING * wider, 1 + SCALING * higher, SHEAR * shear
    right, down = (SHIFT * _PIXEL * amount for amount in (right, down))
    maps = torch.stack([wider * cos, shear - higher * sin, right, wider * sin, higher * cos, down], 1)
    grid = torch.cat([maps, ELASTIC * _PIXEL * amounts[:, 6:]], 1) @ _places()
    pictures = (inputs - BACKGROUND).view(-1, 1, 28, 28)  # so that the zeros that padding brings in are background
    moved = functional.grid_sample(pictures, grid.view(-1, 28, 28, 2), align_corners=False)
    return moved.view(-1, PIXELS) + BACKGROUND


@cache
def _places() -> Tensor:
    """What each number of a distortion adds to both coordinates of each pixel: (6 + 2 KNOTS², 784 * 2).

    The six of an affine map, row by row, as ``functional.affine_grid`` but many times as fast; then the knots, each of
    which displaces what lies around it like a bell.
    """
    middles = (torch.arange(28) + 0.5) * _PIXEL - 1
    down, right = torch.meshgrid(middles, middles, indexing="ij")
    pixel = torch.stack([right, down, torch.ones(28, 28)]).view(3, PIXELS)
    places = torch.linspace(-1, 1, KNOTS)
    bells = torch.exp(-0.5 * ((middles - places[:, None]) / (2 / KNOTS)) ** 2)
    around = torch.einsum("ay,bx->abyx", bells, bells).view(-1, PIXELS)
    axes = torch.eye(2).view(2, 1, 1, 2)
    return torch.cat([(axes * what[:, :, None]).view(-1, PIXELS * 2) for what in (pixel, around)])
