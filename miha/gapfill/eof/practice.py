"""Gaps pasted on clear days of a stack, to learn on: the same gaps in the sample of pixels and in windows."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from miha.evolution.seeds import stream
from miha.gapfill.days import MIN_CLEAR
from miha.gapfill.eof.factors import CHUNK, Factors
from miha.gapfill.eof.leftover import MOST, Practice
from miha.gapfill.eof.scores import Array
from miha.gapfill.gaps import blob, spread_sizes
from miha.gapfill.guess import Window
from miha.rasters.opened import OpenDays
from miha.rasters.stack import Mask

DAYS = 16  # that get a gap, at most, and at most
SHARE = 4  # one in so many
SIDE = 192  # pixels of a window, a side
WINDOWS = 4
VALUES = 16_000_000  # of all days in a window, at most
GAP = 256  # pixels a side, of the gaps that are drawn; they are enlarged to the scene
SMALLEST, LARGEST = 0.05, 0.95  # of the scene
PRIOR_DAYS = 5  # what the noise of all pixels counts as in that of one


def pasted_days(sample: NDArray[np.float32]) -> NDArray[np.int64]:
    """Indices of clear days to paste gaps on, spread over the stack, from its sample (days, pixels)."""
    seen = ~np.isnan(sample)
    clear = np.flatnonzero(seen.sum(axis=1) >= MIN_CLEAR * max(seen.any(axis=0).sum(), 1))
    number = min(DAYS, -(-len(clear) // SHARE))
    return clear[np.linspace(0, len(clear) - 1, number).round().astype(np.int64)] if number else clear


def draw_gaps(shape: tuple[int, int], number: int) -> Iterator[Callable[[NDArray[np.int64], NDArray[np.int64]], Mask]]:
    """Gaps of a scene, each as a function of rows and columns; their sizes are spread evenly."""
    small = min(shape[0], GAP), min(shape[1], GAP)
    for gap in range(number):
        drawn = blob(spread_sizes(gap, SMALLEST, LARGEST), small, stream(0, "samples", 4, gap))

        def inside(rows: NDArray[np.int64], columns: NDArray[np.int64], drawn: Mask = drawn) -> Mask:
            return np.asarray(drawn[rows * small[0] // shape[0], columns * small[1] // shape[1]])

        yield inside


def practice_windows(shape: tuple[int, int], days: int) -> list[Window]:
    """Windows spread over a scene; the scene where it is small."""
    side = min(SIDE, max(32, int((VALUES / days) ** 0.5)))
    places = []
    for size in shape:
        number = 1 if size <= side else 2
        starts = np.linspace(0, size, 2 * number + 1)[1::2] - side / 2
        places.append([slice(max(0, int(start)), min(size, max(0, int(start)) + side)) for start in starts])
    return [(rows, columns) for rows in places[0] for columns in places[1]][:WINDOWS]


def practise(
    factors: Factors,
    sample: NDArray[np.float32],
    pixels: NDArray[np.int64],
    shape: tuple[int, int],
    days: OpenDays,
    ahead: bool,
) -> list[Practice]:
    """Windows with pasted gaps, and what patterns leave in them if they do not see what the gaps hide.

    Args:
        factors: of the stack.
        sample: (days, pixels), of the stack; NaN in the gaps.
        pixels: flat indices of these.
        shape: of the scenes.
        days: the stack.
        ahead: whether a day knows those after it.
    """
    pasted = pasted_days(sample)
    gaps = list(draw_gaps(shape, len(pasted)))
    rows, columns = np.divmod(pixels, shape[1])
    masked = sample.copy()
    for day, gap in zip(pasted, gaps, strict=True):
        masked[day, gap(rows, columns)] = np.nan
    design = factors.scores(masked, factors.days, ahead)
    near = np.unique((pasted[:, None] + np.arange(-MOST, MOST + 1)).clip(0, len(sample) - 1))
    found = []
    for where in practice_windows(shape, len(sample)):
        values: NDArray[np.float32] = days[:, *where]
        hidden = np.full_like(values, np.nan)
        grid = np.mgrid[where]
        for day, gap in zip(pasted, gaps, strict=True):
            inside = gap(grid[0], grid[1])
            hidden[day, inside], values[day, inside] = values[day, inside], np.nan
        flat = len(values), -1
        loadings, noise = fit_pixels(factors, values.reshape(flat), design)
        expected = (design.astype(np.float32) @ loadings).reshape(values.shape) + np.float32(factors.centre)
        left, hidden = (values - expected)[near], (hidden - expected)[near]
        found.append(Practice(left, hidden, noise.reshape(values.shape[1:]), factors.days[near], ahead))
    return found


def fit_pixels(
    factors: Factors, values: NDArray[np.float32], design: Array
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Loadings of pixels (terms, pixels), and the root mean square of what they leave, pulled towards the usual.

    Args:
        factors: of the stack.
        values: (days, pixels), NaN in the gaps.
        design: (days, terms).
    """
    loadings, noise = [], []
    for first in range(0, values.shape[1], CHUNK):
        some = values[:, first : first + CHUNK]
        found = factors.loadings(some, design)
        left = some - (design.astype(np.float32) @ found + np.float32(factors.centre))
        seen = (~np.isnan(left)).sum(axis=0)
        squares = np.nansum(np.square(left, out=left), axis=0)
        loadings.append(found)
        noise.append(np.sqrt((squares + PRIOR_DAYS * factors.noise) / (seen + PRIOR_DAYS)).astype(np.float32))
    return np.concatenate(loadings, axis=1), np.concatenate(noise)
