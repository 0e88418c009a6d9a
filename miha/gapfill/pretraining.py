"""One network for many data sets: it learns from all of them at once, and refines the base of one it never saw."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from miha.errors import DataError
from miha.files import digest_json
from miha.gapfill.days import Split
from miha.gapfill.problem import GapFill
from miha.gapfill.samples import Job, Part
from miha.problems.judgement import Judgement
from miha.problems.presentation import Presentation
from miha.problems.problem import NAMES, ParallelMap, Problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Pretraining(GapFill):
    """Gap filling on a folder of data sets. Each gives as many samples; losses are in deviations of its anomalies.

    A model of it fills scenes of any data set, and others start from it (``pretrained``).
    """

    built_in: ClassVar[str] = "pretraining"
    metric: ClassVar[str] = "mae"

    name: str = Field("pretraining", description=NAMES)
    patch: int = Field(64, ge=16, description="side of a sample, pixels; no scene may be smaller")
    leave_out: tuple[str, ...] = Field((), description="data sets not to learn from")
    train_samples: int = Field(1280, ge=1, description="days with a pasted gap to train on, of all data sets")
    valid_samples: int = Field(320, ge=1, description="days with a pasted gap to validate on")

    @cached_property
    def sets(self) -> list[GapFill]:
        """The data sets, by name, each with its share of the samples.

        Raises:
            DataError: the folder holds no data set, or one whose scenes are smaller than a sample.
        """
        found = {path.parent.name: path.parent for path in sorted(self.data.glob("*/history"))}
        if unknown := sorted({*self.leave_out} - {*found}):
            raise DataError(
                f"{self.data} has no data set {', '.join(unknown)} to leave out; it has {', '.join(found)}."
            )
        folders = [folder for name, folder in found.items() if name not in self.leave_out]
        if not folders:
            raise DataError(f"{self.data} holds no data set to learn from: no other folder in it has a history/.")
        settings = self.model_dump(exclude={"name", "data", "leave_out", "train_samples", "valid_samples"})
        each = {key: max(1, getattr(self, key) // len(folders)) for key in ("train_samples", "valid_samples")}
        sets = [GapFill(**settings, **each, data=folder) for folder in folders]
        for one in sets:
            if min(size := one.history().values.shape[1:]) < self.patch:
                raise DataError(f"{one.data} has scenes of {size[0]}x{size[1]} pixels; problem.patch is {self.patch}.")
        return sets

    def stamp(self) -> str:
        return digest_json([one.stamp() for one in self.sets])

    def fingerprint(self) -> str:
        return digest_json([one.fingerprint() for one in self.sets])

    def _jobs(self, seed: int, part: Part) -> list[Job]:
        return [job for one in self.sets for job in one._jobs(seed, part)]

    def _extras(self, seed: int) -> dict[str, Any]:
        each = [one._extras(seed) for one in self.sets]
        return {
            "unit": "standard deviations",
            "simulated": all(extras["simulated"] for extras in each),
            "seed": seed,
            "split": Split(train=(), valid=(), test=()).model_dump(mode="json"),  # of the set that is filled: unseen
            "scale": 1.0,
            "valid_blocks": [size for extras in each for size in extras["valid_blocks"]],
            "learned_from": [one.data.name for one in self.sets],
        }

    def judge(self, archives: Mapping[str, Path], cache: Path, seed: int) -> Judgement:
        return Problem.judge(self, archives, cache, seed)

    def figures(self, archive: Path) -> "dict[str, Figure]":
        return {}

    def present(self, archive: Path, parallel_map: ParallelMap, thorough: bool = False) -> Presentation:
        return Problem.present(self, archive, parallel_map, thorough)
