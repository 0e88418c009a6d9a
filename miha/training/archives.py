"""The archives that stages leave and start from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from miha.errors import ArchiveError
from miha.records.archive import Archive, Manifest, read_archive, write_archive
from miha.records.record import Epoch, StageRecord
from miha.training.spec import Opened, Parent, StageSpec


def read_if_whole(path: Path, digest: str) -> Archive | None:
    """An archive if it is there, whole and of the stage with this digest; None if that stage must be trained."""
    if not path.exists():
        return None
    try:
        archive = read_archive(path)
    except ArchiveError:
        return None  # damaged: what it held is trained again, and the file replaced
    return archive if archive.manifest.record.digest == digest else None


def read_parent(spec: StageSpec, parent: Parent) -> Archive:
    """The archive of a stage that another descends from.

    Raises:
        ArchiveError: it is missing, altered, or not the one of the spec.
    """
    archive = read_archive(parent.stage.archive(Path(spec.run_dir)))
    if archive.manifest.record.digest != parent.digest:
        raise ArchiveError(
            f"{spec.name} descends from {parent.stage}, but its archive is another one. Run optimize again."
        )
    return archive


def save(
    path: Path,
    spec: StageSpec,
    opened: Opened,
    epochs: Sequence[Epoch],
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
) -> StageRecord:
    """Write the archive of a stage after these epochs; returns its record."""
    record = spec.record(epochs)
    manifest = Manifest(
        record=record,
        problem=opened.problem.settings(),
        input_shape=opened.data.input_shape,
        extras=opened.extras,
    )
    write_archive(path, manifest, weights, optimizer)
    return record
