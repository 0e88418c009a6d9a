"""Random forest spatial interpolation (Sekulić et al. 2020, Remote Sens. 12, 1687), to compare with.

Beside its other predictors a pixel has the values of the nearest visible pixels, and how far they are. A visible pixel
has itself among these, and its nearest at a distance of one: so that trees learn what is so in the gap, its neighbours
are those beyond a distance, drawn from the distances that pixels of the gap have to what is visible.
"""

import numpy as np
import scipy
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from miha.gapfill.guess import visible_pixels
from miha.gapfill.predictors import Background, Static
from miha.gapfill.regressions import tree_features
from miha.rasters.stack import Image

NEAREST = 10  # visible pixels
LOOKED_AT = 300  # nearest pixels, among which are those beyond the drawn distance; else the farthest of them
TREES = 300


def rfsi(scene: Image, background: Background, static: Static, fit_pixels: int, rng: np.random.Generator) -> Image:
    """Fill a scene (height, width; NaN in the gaps) by trees that see the nearest visible pixels.

    Args:
        scene: the scene.
        background: the other days.
        static: layers that do not change.
        fit_pixels: visible pixels that are fitted at most.
        rng: draws them, and their distances.
    """
    features, values = tree_features(background.filled, background.level, static), scene.ravel()
    places = np.stack(np.unravel_index(np.arange(scene.size), scene.shape), axis=1).astype(np.float64)
    visible, asked = np.flatnonzero(~np.isnan(values)), np.flatnonzero(np.isnan(values))
    tree = scipy.spatial.cKDTree(places[visible])
    distances, near = tree.query(places[asked], min(NEAREST, len(visible)))
    fitted = visible_pixels(scene, fit_pixels, rng)
    beyond = np.maximum(rng.choice(distances[:, 0], len(fitted)), 1e-6)  # more than 0: not the pixel itself
    around, those = tree.query(places[fitted], min(LOOKED_AT, len(visible)))
    first = np.minimum((around < beyond[:, None]).sum(axis=1), around.shape[1] - near.shape[1])
    chosen = first[:, None] + np.arange(near.shape[1])
    around, those = (np.take_along_axis(one, chosen, axis=1) for one in (around, those))
    forest = ExtraTreesRegressor(TREES, n_jobs=1, random_state=0)
    forest.fit(_joined(features[fitted], values[visible[those]], around), values[fitted])
    filled = scene.copy()
    filled.flat[asked] = forest.predict(_joined(features[asked], values[visible[near]], distances))
    return filled


def _joined(*parts: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.concatenate(parts, axis=1).astype(np.float32)
