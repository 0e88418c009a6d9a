"""Regression of each pixel on the series of the visible pixels most similar to it, to compare with.

Pixels that rose and fell together on other days are expected to do so today. For a pixel of the gap, those of the
visible ones are taken whose anomalies correlate most with its own over the other days; ridge regression of its series
on theirs, fitted to these days, gives its anomaly from theirs today.
"""

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.predictors import Background
from miha.rasters.stack import Image

SIMILAR = 100  # pixels
PENALTY = 3.0  # of ridge regression, times the mean variance of a series and the number of days
AT_ONCE = 500  # pixels of the gap


def similar_pixels(scene: Image, background: Background) -> Image:
    """Fill a scene (height, width; NaN in the gaps) from its most similar pixels, with the other days' gaps at 0."""
    series = np.nan_to_num(background.anomalies).reshape(len(background.anomalies), -1).astype(np.float64)
    series -= series.mean(axis=0)
    departure = (scene - background.level).ravel().astype(np.float64)
    visible, asked = np.flatnonzero(~np.isnan(departure)), np.flatnonzero(np.isnan(departure))
    offset = departure[visible].mean()
    filled = scene.copy()
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        filled.flat[some] = background.level.flat[some] + offset + _expected(series, departure - offset, visible, some)
    return filled


def _expected(
    series: NDArray[np.float64], departure: NDArray[np.float64], visible: NDArray[np.int64], asked: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Departures (asked,) by regressions on (days, pixels)."""
    spread = np.sqrt((series**2).mean(axis=0)) + 1e-6
    likeness = (series[:, asked] / spread[asked]).T @ (series[:, visible] / spread[visible])
    number = min(SIMILAR, len(visible))
    alike = visible[np.argpartition(-likeness, number - 1, axis=1)[:, :number]]
    theirs = np.moveaxis(series[:, alike], 1, 0)  # asked, days, similar
    days = len(series)
    penalty = PENALTY * days * (theirs**2).mean(axis=(1, 2)) + 1e-9
    gram = theirs @ np.swapaxes(theirs, 1, 2) + penalty[:, None, None] * np.eye(days)
    weights = np.linalg.solve(gram, series[:, asked].T[:, :, None])
    return np.asarray((np.swapaxes(theirs, 1, 2) @ weights)[:, :, 0] * departure[alike]).sum(axis=1)
