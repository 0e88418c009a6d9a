"""Releasing a model: ``models/<data set>/released.json`` names the archive that fills; a better one takes its place.

Earlier archives stay beside it, so that one of them can be put back by editing the file.
"""

import math
import shutil
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from miha.documents import read_document
from miha.errors import ArchiveError, DataError
from miha.files import digest_file, replacing, write_json
from miha.gapfill.judging import NoSharedDayError, mean_errors
from miha.gapfill.network_filler import NetworkFiller
from miha.locking import held

POINTER = "released.json"


class Release(BaseModel):
    """What ``released.json`` says.

    Attributes:
        archive: name of the released archive, beside the file.
        mae: its mean absolute error on the held-out gaps when it was released, in ``unit``.
        unit: e.g. K.
        released: when, UTC.
        previous: name of the archive that was released before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: str
    mae: float
    unit: str
    released: str
    previous: str | None = None


class Verdict(BaseModel):
    """Whether a model was released, why, and which archive fills now."""

    released: bool
    reason: str
    archive: Path | None


def read_release(models: Path) -> Release | None:
    """What is released in a folder; None if nothing is.

    Raises:
        ArchiveError: the file cannot be read.
    """
    pointer = models / POINTER
    return read_document(pointer, Release, ArchiveError, "Restore it or remove it.") if pointer.exists() else None


def released_model(models: Path) -> Path:
    """The archive that is released in a folder.

    Raises:
        DataError: nothing is released.
        ArchiveError: ``released.json`` cannot be read.
    """
    release = read_release(models)
    if release is None:
        raise DataError(f"{models} has no {POINTER}: nothing is released. Run the deployment retrain/retrain first.")
    return models / Path(release.archive).name


def release_if_better(candidate: Path, name: str, data: Path, models: Path) -> Verdict:
    """Release a model if it errs less than the released one on the same held-out gaps; else keep that one.

    Days that the released model learned from do not count. A released model that cannot be used any more (damaged,
    or of an older format) is replaced; one that learned every held-out day is kept, and the reason says so. A second
    call for one model changes nothing.

    Args:
        candidate: archive of the new model.
        name: of its copy in ``models``, without suffix; one name stands for one model.
        data: the data set with the held-out gaps.
        models: folder of the data set's released models.

    Raises:
        ArchiveError: the candidate cannot be used, or ``released.json`` cannot be read.
        DataError: nothing to judge by.
    """
    with held(models, "release later."):
        return _decide(NetworkFiller(candidate, data), candidate, models / f"{name}.zip", data)


def _decide(new: NetworkFiller, candidate: Path, target: Path, data: Path) -> Verdict:
    models, unit = target.parent, new.unit
    before = read_release(models)
    if before and before.archive == target.name and target.exists() and digest_file(target) == digest_file(candidate):
        return Verdict(released=True, reason="released by an earlier try of this run", archive=target)
    old, rival = None, "nothing was released before"
    if before:
        try:
            old = NetworkFiller(released_model(models), data)
        except (ArchiveError, DataError) as error:
            rival = f"the released model cannot be used: {error}"
    try:
        errors = mean_errors({"new": new, "old": old} if old else {"new": new})
    except NoSharedDayError as error:
        if old is None:
            raise
        reason = f"it cannot be compared with the released one: {error} Remove {models / POINTER} to release it."
        return Verdict(released=False, reason=reason, archive=released_model(models))
    if before and old:
        rival = f"the released {before.archive} {errors['old']:.4f} {unit}"
    reason = f"{errors['new']:.4f} {unit} on the held-out gaps; {rival}"
    worse = not math.isfinite(errors["new"]) or (old is not None and errors["new"] >= errors["old"])
    if worse:
        return Verdict(released=False, reason=reason, archive=released_model(models) if before else None)
    with replacing(target) as temporary:
        shutil.copyfile(candidate, temporary)
    release = Release(
        archive=target.name,
        mae=errors["new"],
        unit=unit,
        released=datetime.now(UTC).isoformat(timespec="seconds"),
        previous=before.archive if before else None,
    )
    write_json(models / POINTER, release.model_dump())
    return Verdict(released=True, reason=reason, archive=target)
