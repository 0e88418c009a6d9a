"""Training samples: a day with a gap pasted on it, as a network sees it; made once for a run and kept in a file."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from torch import Tensor

from miha.documents import read_document
from miha.errors import DataError, StorageError
from miha.evolution.seeds import stream
from miha.files import digest_file, replacing, write_json
from miha.gapfill.augmentation import window_around
from miha.gapfill.days import clear_days, paste_gap
from miha.gapfill.excerpt import SIDE, Practice, pasted_excerpt
from miha.gapfill.gaps import LARGEST, SMALLEST, Gaps, spread_sizes
from miha.gapfill.history import background_of
from miha.rasters.opened import OpenDays
from miha.rasters.stack import Image
from miha.threads import fixed_threads

if TYPE_CHECKING:
    from miha.gapfill.problem import GapFill

PARTS = ("inputs", "target", "mask")


class Description(BaseModel):
    """What stands beside the samples in ``samples.json``.

    Attributes:
        key: digest of all that decides the samples.
        checksum: SHA-256 of ``samples.safetensors``.
        extras: what archives of a network that learned from them carry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    checksum: str
    extras: dict[str, Any]


class SampleFile:
    """The samples of one run.

    Args:
        cache: folder of the run for what can be made again.
    """

    def __init__(self, cache: Path) -> None:
        self.tensors, self.description = cache / "samples.safetensors", cache / "samples.json"

    def holds(self, key: str) -> bool:
        """True if the samples of this key are there, whole."""
        if not (self.tensors.exists() and self.description.exists()):
            return False
        try:
            described = self._describe()
        except DataError:
            return False
        return described.key == key and described.checksum == digest_file(self.tensors)

    def write(self, key: str, arrays: dict[str, NDArray[np.float32]], extras: dict[str, Any]) -> None:
        """Keep samples, arrays by PARTS, with the digest of what decided them.

        Raises:
            StorageError: the disk is full or refuses.
        """
        with replacing(self.tensors) as temporary:
            try:
                safetensors.torch.save_file(
                    {name: torch.from_numpy(array) for name, array in arrays.items()}, temporary
                )
            except SafetensorError as error:
                raise StorageError(
                    f"cannot write {self.tensors}: {error}. Free space or choose another --run-dir."
                ) from error
        described = Description(key=key, checksum=digest_file(self.tensors), extras=extras)
        write_json(self.description, described.model_dump(mode="json"))

    def read(self) -> list[Tensor]:
        """The samples by PARTS, mapped: processes share the memory."""
        tensors = safetensors.torch.load_file(self.tensors)
        return [tensors[name] for name in PARTS]

    def extras(self) -> dict[str, Any]:
        """What archives carry."""
        return self._describe().extras

    def _describe(self) -> Description:
        return read_document(self.description, Description, DataError, "Remove it: samples are then made anew.")


Part = Literal["train", "valid"]
SPLITS: tuple[Part, ...] = ("train", "valid")
Job = tuple["GapFill", int, Part, int]  # problem, seed, split, number of the sample
Sample = tuple[NDArray[np.float32], Image, NDArray[np.float32]]  # inputs (n, height, width), target, mask by network


@fixed_threads(1)
def make_sample(job: Job) -> Sample:
    """Draw one day and one gap. Validation gaps are spread evenly over all sizes, training gaps at random."""
    problem, seed, part, number = job
    rng = stream(seed, "samples", 0 if part == "train" else 1, number)
    history, training = problem.history(), problem.training_days(seed)
    if part == "train":
        chosen = int(rng.choice(clear_days(training.values)))
        when, fraction = training.dates[chosen], rng.uniform(SMALLEST, LARGEST)
    else:
        when = date.fromisoformat(problem.valid_days(seed)[number])
        fraction = spread_sizes(number, SMALLEST, LARGEST)
    if isinstance(history.values, OpenDays):
        side = max(SIDE, problem.patch)
        one = pasted_excerpt(history, training, when, problem.static_files(), fraction, rng, side)
    else:
        day = history.values[history.dates.index(when)]
        scene = paste_gap(day, Gaps.of(training.values), fraction, rng)
        one = Practice(scene, day, background_of(scene, training, when), problem.static())
    window = window_around(one.hidden, problem.patch, int(rng.integers(one.hidden.sum())))
    encoded = problem.encode(one.scene, one.background, one.static, rng, window, normalisation=one.normalisation)
    hidden = one.hidden[window]
    target = np.where(hidden, (one.truth[window] - encoded.base) / encoded.scale, 0).astype(np.float32)
    learning = np.array(problem.split(seed).learning(when.isoformat())) == (part == "train")
    return encoded.channels, target, (hidden & learning[:, None, None]).astype(np.float32)
