"""What was fitted to a stack, in files that all processes share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.eof.leftover import Leftover
from miha.gapfill.guess import Window
from miha.rasters.stack import Image

FACTORS, LOADINGS, NOISE = "factors.npz", "loadings.npy", "noise.npy"


@dataclass(frozen=True)
class Model:
    """Patterns of a stack, and what each day shows of them.

    ``loadings.npy`` (terms, height, width) and ``noise.npy`` (height, width), float32, are mapped into memory where a
    window of them is needed, and let go at once: the system keeps one copy for all processes.

    Attributes:
        folder: of these files.
        centre: subtracted from all values.
        days: numbers of the days that it knows, sorted.
        design: (days, terms), float32.
        leftover: what to expect of what patterns leave.
    """

    folder: Path
    centre: np.float32
    days: NDArray[np.int64]
    design: NDArray[np.float32]
    leftover: Leftover

    @classmethod
    def open(cls, folder: Path) -> "Model":
        """What :meth:`save` wrote."""
        with np.load(folder / FACTORS) as kept:
            fading, pull, trust = map(float, kept["leftover"])
            leftover = Leftover(fading, pull, trust, kept["errors"])
            return cls(folder, kept["centre"], kept["days"], kept["design"], leftover)

    def save(self, shape: tuple[int, int]) -> None:
        """Write all but the maps, and make room for these, of scenes of a shape."""
        left = self.leftover
        np.savez(
            self.folder / FACTORS,
            centre=self.centre,
            days=self.days,
            design=self.design,
            leftover=np.array([left.fading, left.pull, left.trust]),
            errors=left.errors,
        )
        make_map(self.folder / LOADINGS, (self.design.shape[1], *shape), np.float32)
        make_map(self.folder / NOISE, shape, np.float32)

    @cached_property
    def _places(self) -> dict[int, int]:
        return {int(day): at for at, day in enumerate(self.days)}

    def expected(self, day: int, where: Window) -> Image:
        """What patterns let one expect of a day in a window."""
        loadings = np.load(self.folder / LOADINGS, mmap_mode="r")[:, *where]
        shape = loadings.shape[1:]
        found = self.design[self._places[day]] @ np.ascontiguousarray(loadings).reshape(len(loadings), -1)
        return np.asarray(found.reshape(shape) + self.centre, np.float32)

    def noise(self, where: Window) -> Image:
        """Root mean square of what patterns leave of each pixel."""
        return np.array(np.load(self.folder / NOISE, mmap_mode="r")[where])


def make_map(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """Room for an array in a file, zero."""
    np.lib.format.open_memmap(path, "w+", dtype, shape)


def put(path: Path, where: tuple[Any, ...], values: NDArray[Any]) -> None:
    """Write a part of such an array; processes may write different parts side by side."""
    array = np.load(path, mmap_mode="r+")
    array[where] = values
    array.flush()
