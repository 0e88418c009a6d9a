"""What predicts pixels beside the visible part of their scene, of a whole scene, a tile, or pixels here and there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.predictors import Background, Static


@dataclass(frozen=True)
class Surroundings:
    """What predicts pixels, beside the visible part of their scene; arrays (…, height, width) of any height and width.

    Attributes:
        background: the other days.
        static: layers that do not change.
        places: (2, height, width), row and column in the scene.
    """

    background: Background
    static: Static
    places: NDArray[np.float32]

    @classmethod
    def of(cls, background: Background, static: Static) -> "Surroundings":
        """Of a whole scene."""
        return cls(background, static, np.indices(background.level.shape, np.float32))

    def window(self, where: tuple[slice, slice]) -> "Surroundings":
        """Those of a window."""
        return Surroundings(self.background.window(where), self.static.window(where), self.places[:, *where])

    def pick(self, pixels: NDArray[np.int64]) -> "Surroundings":
        """Those of some pixels, by their numbers, as one row."""
        one, other = self.background, self.static
        return Surroundings(
            replace(one, level=_picked(one.level, pixels), anomalies=_picked(one.anomalies, pixels)),
            Static(other.layers, *(_picked(part, pixels) for part in (other.continuous, other.classes, other.one_hot))),
            _picked(self.places, pixels),
        )

    @classmethod
    def joined(cls, parts: "Sequence[Surroundings]") -> "Surroundings":
        """Rows one after the other."""
        days, layers = [part.background for part in parts], [part.static for part in parts]

        def row(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            return np.concatenate(arrays, axis=-1)

        return cls(
            replace(days[0], level=row([one.level for one in days]), anomalies=row([one.anomalies for one in days])),
            Static(
                layers[0].layers,
                row([one.continuous for one in layers]),
                row([one.classes for one in layers]),
                row([one.one_hot for one in layers]),
            ),
            row([part.places for part in parts]),
        )


def _picked(array: NDArray[np.float32], pixels: NDArray[np.int64]) -> NDArray[np.float32]:
    return array.reshape(*array.shape[:-2], 1, array.shape[-2] * array.shape[-1])[..., pixels]
