"""How a network sees a scene: input channels of about zero mean and unit spread, and what its output means."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miha.gapfill.base import blend
from miha.gapfill.guess import SPREAD_SCALES, WHOLE, Guess, Window
from miha.gapfill.predictors import Background, analogues
from miha.gapfill.process import Posterior
from miha.gapfill.regressions import TRENDS
from miha.rasters.stack import Image, Mask


@dataclass(frozen=True)
class Normalisation:
    """Statistics of the other days of a scene, in the data's unit: a network sees scenes of any place in one scale.

    Attributes:
        level_mean: mean of the level map.
        level_std: its standard deviation over the scene.
        anomaly_std: standard deviation of what level and day offset leave.
        mean: mean of all observed pixels.
        std: their standard deviation.
    """

    level_mean: float
    level_std: float
    anomaly_std: float
    mean: float
    std: float

    @classmethod
    def of(cls, background: Background) -> "Normalisation":
        """Take the statistics."""
        values = background.level + background.offsets[:, None, None] + background.anomalies
        return cls(
            level_mean=float(background.level.mean()),
            level_std=_spread(background.level),
            anomaly_std=_spread(background.anomalies),
            mean=float(np.nanmean(values)),
            std=_spread(values),
        )


def _spread(values: NDArray[np.float32]) -> float:
    return float(np.nanstd(values)) or 1.0


@dataclass(frozen=True)
class Encoded:
    """Input channels (n, height, width); the scene is ``base + scale * output``, in the data's unit."""

    channels: NDArray[np.float32]
    base: Image
    scale: float


def encode_scene(scene: Image, normalisation: Normalisation, window: Window = WHOLE) -> Encoded:
    """The scene alone, standardised by the other days, 0 in the gaps: what the article's autoencoder sees."""
    standardised = (scene[window] - normalisation.mean) / normalisation.std
    base = np.full_like(standardised, normalisation.mean)
    return Encoded(np.nan_to_num(standardised)[None].astype(np.float32), base, normalisation.std)


FIXED_CHANNELS = 8 + TRENDS + len(SPREAD_SCALES)  # of encode_base, beside the most similar days


def encode_base(
    scene: Image,
    background: Background,
    guess: Guess,
    process: Posterior,
    similar_days: int,
    window: Window = WHOLE,
    normalisation: Normalisation | None = None,
) -> Encoded:
    """The base as a network sees it, see :func:`encode_maps`.

    Args:
        scene: (height, width), NaN in the gaps.
        background: the other days.
        guess: of the scene, of the window.
        process: the same.
        similar_days: how many are shown.
        window: rows and columns for which channels are wanted.
        normalisation: by default that of the background.
    """
    similar = background.anomalies[analogues(scene, background, similar_days)][:, *window]
    normalisation = normalisation or Normalisation.of(background)
    return encode_maps(~np.isnan(scene[window]), background.level[window], similar, guess, process, normalisation)


def encode_maps(
    visible: Mask,
    level: Image,
    similar: NDArray[np.float32],
    guess: Guess,
    process: Posterior,
    normalisation: Normalisation,
) -> Encoded:
    """The base, how sure it is, where the guess errs on what is visible, what else may tell how it errs in the gaps.

    Channels: visible or not; error of the guess where visible; spread of its trees; the process's standard deviation, 0
    where visible; what the process says instead of the base, what trees on ridge, on climatology and alone, ridge alone
    and climatology alone do; that error spread into the gaps; level; anomalies of the most similar days, and where
    those days are visible. Static layers are in the base: without them one network fits all data sets.

    Args:
        visible: (height, width), of the window for which channels are wanted; so are the others.
        level: of the pixels.
        similar: (days, height, width), anomalies of the most similar days, NaN in their gaps.
        guess: the first guess.
        process: what the Gaussian process says.
        normalisation: of the other days.
    """
    expected = np.where(visible, guess.value, process.mean)  # where visible, a guess that did not see the pixel
    value = blend(expected, guess.value, process.calibration)
    scale = normalisation.anomaly_std
    channels = [
        visible,
        np.nan_to_num(guess.error) / scale,
        guess.spread / scale,
        process.std / scale,
        (expected - value) / scale,
        *((guess.refined - value) / scale),
        (guess.ridge - value) / scale,
        (guess.climatology - value) / scale,
        *(guess.residuals / scale),
        (level - normalisation.level_mean) / normalisation.level_std,
        *(np.nan_to_num(similar) / scale),
        *(~np.isnan(similar)),
    ]
    return Encoded(np.stack(channels).astype(np.float32), value, scale)
