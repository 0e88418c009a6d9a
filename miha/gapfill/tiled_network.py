"""A trained network over a scene that need not be in memory: its base and its channels tile by tile, joined for it."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from tempfile import TemporaryFile, gettempdir

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from miha.errors import StorageError
from miha.gapfill.bagging import mean_correction
from miha.gapfill.base import Base
from miha.gapfill.encoding import Encoded, Normalisation, encode_maps
from miha.gapfill.features import REACH
from miha.gapfill.guess import SPREAD_SCALES, Guess, Window, spread_residuals
from miha.gapfill.predictors import analogues
from miha.gapfill.problem import GapFill
from miha.gapfill.process import Posterior
from miha.gapfill.regressions import TRENDS, GuessSettings
from miha.gapfill.view import View, windows_of
from miha.rasters.stack import Image
from miha.threads import fixed_threads

SIDE = 512  # pixels of a window that the network is asked about, a side
ALIGNED = 64  # windows begin at multiples of it, as the pixels do that a network pools: up to seven resolutions
SPREAD = round(4 * SPREAD_SCALES[-1])  # pixels from which a spread residual takes something
PROBES, SAME = (256, 512, 1024), 1e-5  # sides of what a network is tried on; difference of outputs that are one


class NetworkOverBase:
    """The fill of a scene by a network that refines the base, of any window.

    Within 0.0001 it is what the network makes of the whole scene at once: windows reach as far around as the network
    looks and as errors spread, and what is of the whole scene comes of pixels that stand for it.

    Args:
        view: the scene, with other days.
        problem: what the network was trained for.
        network: ready to be evaluated.
        reach: how far it looks, see :func:`reach_of`.
        mirrorings: axes to flip, in one opinion each.
        seed: draws trees and pixels.
    """

    def __init__(
        self,
        view: View,
        problem: GapFill,
        network: nn.Module,
        reach: int,
        mirrorings: Sequence[tuple[int, ...]],
        seed: int,
    ) -> None:
        self.view, self.network, self.reach, self.mirrorings = view, network, reach, mirrorings
        self.base = Base(view, seed, GuessSettings(trees=problem.trees), len(mirrorings))
        background = self.base.sample.around.background
        self.normalisation = Normalisation.of(background)
        self.similar = analogues(self.base.sample.scene[None], background, problem.analogues)
        tiles = list(view.tiles())
        self.side = tiles[0][0].stop, tiles[0][1].stop
        rows = 2 + (SIDE + 2 * (reach + ALIGNED + SPREAD)) // self.side[0]  # that a window touches at most
        kept = rows * (1 + view.shape[1] // self.side[1])  # until the windows of the next row have used them
        self._maps = lru_cache(maxsize=kept)(lambda *tile: Spooled(self._compute(*tile)))

    @fixed_threads(1)
    def fill(self, where: Window) -> Posterior:
        """Mean and deviation of a window, right in its gaps alone; elsewhere the scene, and 0."""
        mean, std = np.empty((2, where[0].stop - where[0].start, where[1].stop - where[1].start), np.float32)
        for part in windows_of(where, SIDE):
            there = _within(part, where)
            scene = self.view.scene[part]
            mean[there], std[there] = scene, 0
            gap = np.isnan(scene)
            if gap.any():
                values, deviations = self._ask(part)
                mean[there][gap], std[there][gap] = values[gap], deviations[gap]
        return Posterior(mean, std, intervals=self.base.process.intervals)

    def _ask(self, where: Window) -> tuple[Image, Image]:
        """What the network says of a window, in the mean of its opinions, and the deviation of the process there."""
        seen = self.view.grown(where, self.reach + ALIGNED)[0]
        outer, inner = self.view.grown(seen, SPREAD)
        maps = self._joined(outer)
        scene, process, std, level = maps[:4]
        similar, guesses = np.split(maps[4:], [len(self.similar)])
        opinions = []
        with torch.inference_mode():
            for axes, guess in zip(self.mirrorings, np.split(guesses, len(self.mirrorings)), strict=True):
                guess_there = _guess(scene, guess, inner)
                posterior = Posterior(process[inner], std[inner], self.base.process.calibration)
                encoded = encode_maps(
                    ~np.isnan(scene[inner]), level[inner], similar[:, *inner], guess_there, posterior,
                    self.normalisation,
                )  # fmt: skip
                opinions.append(self._opinion(encoded, seen, axes)[_within(where, seen)])
        return np.asarray(np.mean(opinions, axis=0), np.float32), std[inner][_within(where, seen)]

    def _opinion(self, encoded: Encoded, seen: Window, axes: tuple[int, ...]) -> Image:
        """What the network says of a mirrored window; less of it than ``seen``, so that its edges are aligned."""
        kept = tuple(
            _aligned(part, size, axis in axes) for part, size, axis in zip(seen, self.view.shape, (-2, -1), strict=True)
        )
        inputs = torch.from_numpy(np.ascontiguousarray(encoded.channels[:, *kept]))[None]
        output: Image = mean_correction(self.network, inputs.flip(axes)).flip(axes)[0].numpy()
        value: Image = encoded.base.copy()
        value[kept] += encoded.scale * output
        return value

    def _joined(self, where: Window) -> NDArray[np.float32]:
        """Maps of a window, (n, height, width)."""
        shape = where[0].stop - where[0].start, where[1].stop - where[1].start
        joined: NDArray[np.float32] | None = None
        for tile in self._tiles(where):
            maps = self._maps(*((part.start, part.stop) for part in tile)).read()
            if joined is None:
                joined = np.empty((len(maps), *shape), np.float32)
            shared = tuple(
                slice(max(one.start, other.start), min(one.stop, other.stop))
                for one, other in zip(tile, where, strict=True)
            )
            joined[:, *_within(shared, where)] = maps[:, *_within(shared, tile)]
        assert joined is not None, "a window has pixels"
        return joined

    def _tiles(self, where: Window) -> Iterator[Window]:
        """The tiles of the scene that a window touches."""
        first = [part.start // side * side for part, side in zip(where, self.side, strict=True)]
        for top in range(first[0], where[0].stop, self.side[0]):
            for left in range(first[1], where[1].stop, self.side[1]):
                bottom, right = (
                    min(start + side, size)
                    for start, side, size in zip((top, left), self.side, self.view.shape, strict=True)
                )
                yield slice(top, bottom), slice(left, right)

    def _compute(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.float32]:
        """Maps (n, height, width) of a tile: scene, process and its deviation, level, similar days, first guesses."""
        outer, inner = self.view.grown((slice(*rows), slice(*columns)), REACH)
        tile = self.view.tile(outer)
        background, scene = tile.around.background, tile.scene
        inside = np.zeros(scene.shape, bool)
        inside[inner] = True
        process, std = scene.copy(), np.zeros_like(scene)
        gap = inside & np.isnan(scene)
        if gap.any():
            process[gap], std[gap] = self.base.process_at(tile, np.flatnonzero(gap))
        asked, shape = np.flatnonzero(inside), scene[inner].shape
        numbers = np.indices(scene.shape).reshape(2, -1)[:, asked] + [[outer[0].start], [outer[1].start]]
        around = tile.around.pick(asked)
        maps = [scene[inner], process[inner], std[inner], background.level[inner]]
        maps += list(background.anomalies[self.similar][:, *inner])
        for guess in self.base.guesses:
            found = guess.at(numbers[0] * self.view.shape[1] + numbers[1], around)
            maps += [one.reshape(shape) for one in (*found.refined, found.climatology, found.ridge, found.spread)]
        return np.stack(maps)


class Spooled:
    """Maps in an unnamed file, which is gone when they are: those of a row of tiles may be gigabytes.

    Raises:
        StorageError: the folder of temporary files is full.
    """

    def __init__(self, maps: NDArray[np.float32]) -> None:
        self.shape = maps.shape
        try:
            self.file = TemporaryFile()  # noqa: SIM115
            maps.tofile(self.file)
        except OSError as error:
            raise StorageError(
                f"cannot keep maps in {gettempdir()}: {error.strerror or error}. Free space, or name another folder in "
                "the environment variable TMPDIR."
            ) from error

    def read(self) -> NDArray[np.float32]:
        """The maps, in memory as far as they are looked at."""
        return np.memmap(self.file, np.float32, "r", shape=self.shape)


def _guess(scene: Image, maps: NDArray[np.float32], where: Window) -> Guess:
    """A first guess of a part of a window, from its maps over all of it, to which errors spread."""
    refined, (climatology, ridge, spread) = maps[:TRENDS], maps[TRENDS:, *where]
    median = np.median(refined, axis=0)
    error = scene - median
    residuals = spread_residuals(error, SPREAD_SCALES)[:, *where]
    value = median[where] + residuals[0]
    return Guess(value, error[where], residuals, climatology, ridge, refined[:, *where], spread)


def _within(part: tuple[slice, ...], where: Window) -> Window:
    """Where in a window a part of it lies."""
    rows, columns = (
        slice(one.start - around.start, one.stop - around.start) for one, around in zip(part, where, strict=True)
    )
    return rows, columns


def _aligned(part: slice, size: int, flipped: bool) -> slice:
    """What of a part of ``size`` pixels begins at a multiple of ALIGNED, counted from the other end if ``flipped``."""
    if flipped:
        return slice(0, part.stop - part.start - (part.stop - size) % ALIGNED)
    return slice(-part.start % ALIGNED, part.stop - part.start)


def reach_of(network: nn.Module, channels: int) -> int | None:
    """How many pixels from an edge the output of a network is another one than further inside, found by trying.

    None if it is another one everywhere, since the network looks at the whole, or is shifted by its size.

    Args:
        network: ready to be evaluated; maps (1, channels, height, width) to maps of one or several members.
        channels: of its inputs.
    """
    generator = torch.Generator().manual_seed(0)
    for side in PROBES:
        inputs = torch.randn(1, channels, side, side, generator=generator)
        cut = ALIGNED
        with torch.inference_mode():
            whole = mean_correction(network, inputs)[0]
            begun = (mean_correction(network, inputs[..., cut:, cut:])[0] - whole[cut:, cut:]).abs()
            ended = (mean_correction(network, inputs[..., : 1 - cut, : 1 - cut])[0] - whole[: 1 - cut, : 1 - cut]).abs()
        off = [(part > SAME * float(1 + whole.abs().max())).nonzero() for part in (begun, ended.flip(0, 1))]
        reach = max((int(pixels.min(dim=1).values.max()) + 1 for pixels in off if len(pixels)), default=0)
        if reach < side // 2:
            return reach
    return None
