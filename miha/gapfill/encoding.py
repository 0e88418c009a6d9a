"""How a network sees a scene: input channels of about zero mean and unit spread, and what its output means."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from miha.gapfill.guess import SPREAD_SCALES, TRENDS, WHOLE, GuessSettings, Window, guess_scene
from miha.gapfill.predictors import Background, Static, analogues
from miha.rasters.stack import Image


class Normalisation(BaseModel):
    """Statistics of the training days, in the data's unit.

    Attributes:
        level_mean: mean of the level map.
        level_std: its standard deviation over the scene.
        anomaly_std: standard deviation of what level and day offset leave.
        mean: mean of all observed pixels.
        std: their standard deviation.
    """

    model_config = ConfigDict(frozen=True)

    level_mean: float
    level_std: float
    anomaly_std: float
    mean: float
    std: float

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> "Normalisation":
        """Take the statistics of a stack (days, height, width)."""
        background = Background.of(values)
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
    """The scene alone, standardised, 0 in the gaps: what the article's autoencoder sees."""
    standardised = (scene[window] - normalisation.mean) / normalisation.std
    base = np.full_like(standardised, normalisation.mean)
    return Encoded(np.nan_to_num(standardised)[None].astype(np.float32), base, normalisation.std)


FIXED_CHANNELS = 6 + TRENDS + len(SPREAD_SCALES)  # of encode_guess, beside static layers and analogues


def encode_guess(
    scene: Image,
    background: Background,
    static: Static,
    normalisation: Normalisation,
    settings: GuessSettings,
    similar_days: int,
    rng: np.random.Generator,
    window: Window = WHOLE,
) -> Encoded:
    """A first guess, where it errs on what is visible, and what else may tell how it errs in the gaps.

    Channels: visible or not; error of the guess where visible; spread of its trees; what trees on ridge, on climatology
    and alone, ridge alone and climatology alone say instead; that error spread into the gaps; level; static layers;
    anomalies of the most similar days, and where those days are visible.
    """
    guess = guess_scene(scene, background, static, settings, rng, window)
    value = guess.value
    scale = normalisation.anomaly_std
    anomalies = background.anomalies[analogues(scene, background, similar_days)][:, *window]
    level = (background.level[window] - normalisation.level_mean) / normalisation.level_std
    channels = [
        ~np.isnan(scene[window]),
        np.nan_to_num(guess.error) / scale,
        guess.spread / scale,
        *((guess.refined - value) / scale),
        (guess.ridge - value) / scale,
        (guess.climatology - value) / scale,
        *(guess.residuals / scale),
        level,
        *(layer[window] for layer in (*static.continuous, *static.one_hot)),
        *(np.nan_to_num(anomalies) / scale),
        *(~np.isnan(anomalies)),
    ]
    return Encoded(np.stack(channels).astype(np.float32), value, scale)
