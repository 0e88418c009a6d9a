"""DINEOF, the usual gap filler of oceanography, to compare with: empirical orthogonal functions, found iteratively.

Beckers and Rixen 2003 (J. Atmos. Oceanic Technol. 20, 1839-1856): gaps start at the mean; the leading functions of the
matrix of days and pixels give them new values, until these settle. How many functions is chosen by values that are held
out. This is a plain version of it: no smoothing of days, which are few here and not in a row.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.predictors import Background
from miha.rasters.stack import Image

MOST = 12  # functions that are tried
HELD_OUT = 0.03  # of the known values
ROUNDS, SETTLED = 100, 1e-3  # at most so many rounds; change of the filled values, in deviations of the known ones
PATIENCE = 3  # numbers of functions that may do worse before no more are tried

Matrix = NDArray[np.float64]  # (days, pixels), NaN in the gaps


def dineof(scene: Image, background: Background, rng: np.random.Generator) -> Image:
    """Fill a scene (height, width; NaN in the gaps) from the other days and its visible part.

    Args:
        scene: the scene; its departure from the level is one more day.
        background: the other days.
        rng: draws the values that are held out.
    """
    departures = np.concatenate(
        [(scene - background.level)[None], background.offsets[:, None, None] + background.anomalies]
    )
    days = departures.reshape(len(departures), -1).astype(np.float64)
    known = np.flatnonzero(~np.isnan(days))
    held = rng.choice(known, max(1, int(HELD_OUT * len(known))), replace=False)
    practice = days.copy()
    practice.flat[held] = np.nan
    errors: list[float] = []
    for filled in _filled_by(practice):
        errors.append(float(((filled.flat[held] - days.flat[held]) ** 2).mean()))
        if len(errors) - int(np.argmin(errors)) > PATIENCE:
            break
    *_, best = (filled for filled, _ in zip(_filled_by(days), range(int(np.argmin(errors)) + 1), strict=False))
    return np.asarray(background.level + best[0].reshape(scene.shape), np.float32)


def _filled_by(days: Matrix) -> Iterator[Matrix]:
    """The days as one function fills them, two, three and so on, each from what the former left."""
    gaps = np.isnan(days)
    centre, spread = np.nanmean(days), float(np.nanstd(days)) or 1.0
    filled = np.where(gaps, 0, (days - centre) / spread)
    for number in range(1, min(MOST, len(days) - 1) + 1):
        for _ in range(ROUNDS):
            _, functions = np.linalg.eigh(filled @ filled.T)  # of the days, the last the strongest
            leading = functions[:, -number:]
            change = np.where(gaps, leading @ (leading.T @ filled) - filled, 0)
            filled = filled + change
            if np.sqrt((change**2).sum() / max(gaps.sum(), 1)) < SETTLED:
                break
        yield filled * spread + centre
