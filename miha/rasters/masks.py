"""Which pixels a quality layer calls clear, and gaps that grow by the rims of clouds."""

import glob
from pathlib import Path
from typing import Any

import numpy as np
import scipy  # loads its ndimage on first use
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from miha.errors import DataError
from miha.rasters.dates import read_date


class BitRule(BaseModel):
    """Pixels whose number in a quality layer is not one of ``values`` are missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: tuple[int, ...] = Field(
        (),
        description="bits that make up the number, 0 (the lowest) to 62; the first counts 1, the next 2, and so on; "
        "none: the number as stored",
    )
    values: tuple[int, ...] = Field(min_length=1, description="numbers of clear pixels")

    @field_validator("bits", "values", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, int) else given

    @field_validator("bits")
    @classmethod
    def _are_bits(cls, bits: tuple[int, ...]) -> tuple[int, ...]:
        if wrong := [bit for bit in bits if not 0 <= bit < 63]:
            raise ValueError(f"a bit lies in 0 to 62, but one is {wrong[0]}")
        return bits

    def clear(self, quality: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Where a quality layer (height, width), stored as integers or whole floats, says that a pixel is clear."""
        known = np.isfinite(quality)
        number = np.where(known, quality, 0).astype(np.int64)
        if self.bits:
            number = np.asarray(sum(((number >> bit) & 1) << place for place, bit in enumerate(self.bits)))
        return np.asarray(known & np.isin(number, self.values))


class ClearRule(BitRule):
    """A rule, and where its quality layer is found beside a scene."""

    band: int = Field(1, ge=1, description="band of the quality layer, from 1")
    file: str | None = Field(
        None,
        description="its file, from the folder of the scene; {name} stands for the scene's name without suffix, "
        "{date:%Y%j} for its day in any form, * for anything; none: the scene's own file",
    )

    @field_validator("file")
    @classmethod
    def _can_be_named(cls, file: str | None) -> str | None:
        if file is not None:
            try:
                file.format(name="", date=np.datetime64("2000-01-01").item())
            except (LookupError, ValueError) as error:
                raise ValueError(
                    f"{file!r} may hold {{name}} and {{date:%Y%j}}, and no other braces ({error})"
                ) from error
            if Path(file).is_absolute():
                raise ValueError(f"{file!r} must start from the folder of the scene")
        return file

    def file_of(self, scene: Path, date_pattern: str | None) -> Path | None:
        """The file of the quality layer of a scene; None if there is none of that name.

        Raises:
            DataError: the scene has no date that the name asks for, or several files fit.
        """
        if self.file is None:
            return scene
        when = read_date(scene, date_pattern) if "{date" in self.file else None
        name = self.file.format(name=glob.escape(scene.stem), date=when)
        found = sorted(glob.glob(str(scene.parent / name)))
        if len(found) > 1:
            raise DataError(
                f"{scene} has several quality files ({found[0]}, {found[1]}). Make problem.clear.file exact."
            )
        return Path(found[0]) if found else None


def grown(missing: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Gaps (height, width) that reach ``pixels`` further in all eight directions."""
    if not pixels:
        return missing
    return np.asarray(scipy.ndimage.maximum_filter(missing, 2 * pixels + 1, mode="constant"))
