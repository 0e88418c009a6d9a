"""Held-out gaps filled by several methods, and their errors: means with intervals, and curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from miha.evolution.seeds import stream
from miha.gapfill.cases import Case
from miha.gapfill.intervals import NORMAL, SHARES, Intervals
from miha.rasters.stack import Image

TILE = 16  # side of the squares that errors are resampled by, pixels: errors of neighbours are much alike
DRAWS = 1000  # of the bootstrap
DISTANCES = (0, 1, 2, 4, 8, 16, 32, np.inf)  # classes of distance to the nearest observed pixel, pixels


@dataclass(frozen=True)
class FilledCase:
    """One gap as each method fills it; standard deviation and intervals are those of ``ours``."""

    case: Case
    maps: Mapping[str, Image]
    std: Image
    intervals: Intervals = field(default_factory=lambda: NORMAL)


@dataclass(frozen=True)
class Mean:
    """Mean absolute error over the gaps, each weighing alike, with the limits of its 95 % interval."""

    value: float
    low: float
    high: float


class Comparison:
    """Errors of several methods on the same gaps.

    Args:
        filled: the gaps; methods that lack one of them, or are no number somewhere inside, are left out.
        ours: the method whose standard deviations are there.
    """

    def __init__(self, filled: Sequence[FilledCase], ours: str) -> None:
        self.filled, self.ours = filled, ours
        self.methods = [
            name for name in filled[0].maps if all(name in one.maps and _whole(one, name) for one in filled)
        ]

    def by_gap(self) -> pd.DataFrame:
        """Mean absolute error: a row for each gap with its size (percent of the scene), a column for each method."""
        rows: list[dict[str, Any]] = [
            {"size": 100 * float(np.isnan(one.case.scene).mean())}
            | {name: one.case.error(one.maps[name]) for name in self.methods}
            for one in self.filled
        ]
        return pd.DataFrame(rows).sort_values("size", ignore_index=True)

    def means(self) -> dict[str, Mean]:
        """The mean error of each method."""
        values = self.by_gap()[self.methods].mean()
        low, high = np.percentile(self._resampled, [2.5, 97.5], axis=0)
        return {
            name: Mean(float(values[name]), float(low[number]), float(high[number]))
            for number, name in enumerate(self.methods)
        }

    def gain(self, method: str, over: str) -> Mean:
        """By what fraction the mean error of one method is below that of another, both on the same resampled tiles."""
        column, other = self.methods.index(method), self.methods.index(over)
        values = self.by_gap()[self.methods].mean()
        drawn = 1 - self._resampled[:, column] / self._resampled[:, other]
        low, high = np.percentile(drawn, [2.5, 97.5])
        return Mean(1 - float(values[method] / values[over]), float(low), float(high))

    def gain_sentence(self, network: str, base: str, corrects: bool = True) -> str:
        """What a network adds to the base it starts from, in a sentence; ``corrects``: it is not the zero map."""
        gain = self.gain(network, base)
        size = f"{100 * abs(gain.value):.1f} %"
        does = f"{'lowers' if gain.value > 0 else 'raises'} the error of the base by {size}"
        if size == "0.0 %":
            does = "leaves the error of the base as it is"
        interval = f"95 % interval of the gain {100 * gain.low:+.1f} to {100 * gain.high:+.1f} %"
        chance = ": it may be chance" if gain.low <= 0 <= gain.high else ""
        what = "The network" if corrects else "No network corrects the base; the mean of several bases"
        return f"{what} {does} ({interval}){chance}."

    @cached_property
    def _resampled(self) -> NDArray[np.float64]:
        """Mean errors (draws, methods) of a bootstrap over tiles.

        A tile is a square of pixels of one day. All gaps that reach into it, and all methods, keep or lose it together.
        """
        tiles: dict[tuple[Any, int, int], int] = {}
        entries: list[tuple[int, int, float, NDArray[np.float64]]] = []  # gap, tile, pixels, sums by method
        for gap, one in enumerate(self.filled):
            errors = np.stack([np.abs(one.maps[name] - one.case.truth)[one.case.hidden] for name in self.methods])
            rows, columns = np.nonzero(one.case.hidden)
            places, inverse = np.unique(np.stack([rows // TILE, columns // TILE]), axis=1, return_inverse=True)
            counts = np.bincount(inverse.ravel())
            parts = np.stack([np.bincount(inverse.ravel(), error) for error in errors], axis=1)
            for place, count, total in zip(places.T, counts, parts, strict=True):
                tile = tiles.setdefault((one.case.day, int(place[0]), int(place[1])), len(tiles))
                entries.append((gap, tile, float(count), total))
        pixels = np.zeros((len(tiles), len(self.filled)))
        sums = np.zeros((len(tiles), len(self.filled), len(self.methods)))
        for gap, tile, count, total in entries:
            pixels[tile, gap], sums[tile, gap] = count, total
        draws = stream(0, "samples", 4).multinomial(len(tiles), np.full(len(tiles), 1 / len(tiles)), DRAWS)
        counted = draws @ pixels
        totals = np.einsum("dt,tgm->dgm", draws.astype(float), sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = totals / counted[:, :, None]  # a small gap may be lost to a draw
        return np.asarray(np.nanmean(means, axis=1))

    def by_distance(self) -> pd.DataFrame:
        """Mean absolute error by distance to the nearest observed pixel: ``distance`` is the mean of a class, pixels.

        Over the hidden pixels of all gaps; ``pixels`` is how many fall into the class.
        """
        distances = np.concatenate(
            [scipy.ndimage.distance_transform_edt(np.isnan(one.case.scene))[one.case.hidden] for one in self.filled]
        )
        frame = pd.DataFrame({name: self._errors(name) for name in self.methods}).abs().assign(distance=distances)
        grouped = frame.groupby(pd.cut(frame.distance, DISTANCES), observed=True)
        return grouped.mean().assign(pixels=grouped.size()).reset_index(drop=True)

    def errors(self) -> dict[str, NDArray[np.float64]]:
        """Filled less true value at every hidden pixel of all gaps, for each method."""
        return {name: self._errors(name) for name in self.methods}

    def _errors(self, name: str) -> NDArray[np.float64]:
        parts = [(one.maps[name] - one.case.truth)[one.case.hidden] for one in self.filled]
        return np.concatenate(parts).astype(np.float64)

    def coverage(self) -> dict[int, float]:
        """Percent of errors that an interval should hold → percent that it holds, mean over the gaps."""
        held = [
            {share: 100 * float((self._off(one) <= width).mean()) for share, width in one.intervals.items()}
            for one in self.filled
        ]
        return {share: float(np.mean([one[share] for one in held])) for share in SHARES}

    def _off(self, one: FilledCase) -> NDArray[np.float64]:
        """Errors in standard deviations."""
        error = np.abs(one.maps[self.ours] - one.case.truth)[one.case.hidden].astype(np.float64)
        return np.asarray(error / one.std[one.case.hidden])


def _whole(one: FilledCase, name: str) -> bool:
    return bool(np.isfinite(one.maps[name][one.case.hidden]).all())
