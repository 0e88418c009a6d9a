"""Model archives: a zip of JSON and safetensors that is written whole, checked when read, and never unpickled.

Members, all stored without compression and in this order: ``manifest.json``, ``weights.safetensors``,
``optimizer.safetensors``. The manifest carries the SHA-256 of the other two and of itself. Equal contents give equal
bytes: fixed dates, no clock, no paths.
"""

import hashlib
import json
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from miha.errors import ArchiveError
from miha.files import digest_json, replacing
from miha.records.record import StageRecord

FORMAT_VERSION = 17  # raised whenever the arithmetic of training or the contents of an archive change
MAX_MANIFEST = 16 * 2**20  # bytes
_MANIFEST, _WEIGHTS, _OPTIMIZER = "manifest.json", "weights.safetensors", "optimizer.safetensors"
_MEMBERS = (_MANIFEST, _WEIGHTS, _OPTIMIZER)
_RAW = "/raw"  # among the optimizer's state, of weights that are a mean: those that training goes on from
_EPOCH_ZERO = (1980, 1, 1, 0, 0, 0)


class Manifest(BaseModel):
    """What an archive says of itself.

    Attributes:
        record: the stage that made it; of an epoch checkpoint, the epochs so far.
        problem: name and settings of the problem, without paths.
        input_shape: shape of one input sample, without the batch.
        extras: all that using the network needs besides: predictor settings, normalisation, units.
        origin: of ``model_best``, the name of the archive it is a copy of.
    """

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    record: StageRecord
    problem: dict[str, Any]
    input_shape: tuple[int, ...]
    extras: dict[str, Any]
    origin: str | None = None


class Archive(NamedTuple):
    """What an archive holds: weights by name, and what further training needs, as ``parameter/key`` → tensor."""

    manifest: Manifest
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]

    @property
    def optimizer_state(self) -> dict[str, Tensor]:
        """The optimizer's state as ``parameter/key`` → tensor."""
        return {key: tensor for key, tensor in self.optimizer.items() if not key.endswith(_RAW)}

    @property
    def raw_weights(self) -> dict[str, Tensor]:
        """The weights that training goes on from: where those of the archive are a mean along training, the latest."""
        raw = {key.removesuffix(_RAW): tensor for key, tensor in self.optimizer.items() if key.endswith(_RAW)}
        return raw or self.weights


def with_raw(optimizer: Mapping[str, Tensor], raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an archive of mean weights keeps for further training: the optimizer's state, and the latest weights."""
    return {**optimizer, **{f"{name}{_RAW}": tensor for name, tensor in raw.items()}}


def write_archive(
    path: Path, manifest: Manifest, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]
) -> None:
    """Write an archive atomically; an equal call gives equal bytes.

    Args:
        path: where; a file there is replaced only when the new one is complete.
        manifest: what the archive says of itself.
        weights: the network's parameters and buffers by name.
        optimizer: the optimizer's state, ``parameter/key`` → tensor; of mean weights :func:`with_raw`.
    """
    payload = {_WEIGHTS: safetensors.torch.save(_plain(weights)), _OPTIMIZER: safetensors.torch.save(_plain(optimizer))}
    content = manifest.model_dump(mode="json")
    content["checksums"] = {name: _sha256(data) for name, data in payload.items()}
    content["checksum"] = digest_json(content | {"checksum": None})
    members = {_MANIFEST: json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode(), **payload}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in _MEMBERS:
            info = zipfile.ZipInfo(name, _EPOCH_ZERO)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, members[name])


def read_manifest(path: Path) -> Manifest:
    """Read and check the manifest alone (fast).

    Raises:
        ArchiveError: no such file, not an archive of ours, truncated or altered.
    """
    return _read(path, ())[0]


def read_archive(path: Path | str) -> Archive:
    """Read an archive and check every checksum: manifest, weights, optimizer state.

    Raises:
        ArchiveError: no such file, not an archive of ours, truncated or altered.
    """
    manifest, payload = _read(Path(path), (_WEIGHTS, _OPTIMIZER))
    try:
        return Archive(manifest, *(safetensors.torch.load(payload[name]) for name in (_WEIGHTS, _OPTIMIZER)))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArchiveError(f"{path} holds no readable tensors ({error}). Train the model again.") from error


def _read(path: Path, wanted: tuple[str, ...]) -> tuple[Manifest, dict[str, bytes]]:
    if not path.is_file():
        raise ArchiveError(
            f"no such archive: {path}. Models of a run are RUN/model/model_best.zip and others beside it."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            content = json.loads(archive.read(_MANIFEST))
            payload = {name: archive.read(name) for name in wanted}
        found = digest_json(content | {"checksum": None} if isinstance(content, dict) else None)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, RecursionError) as error:
        raise ArchiveError(f"{path} is truncated or no model archive ({error}). Restore it or train again.") from error
    if not isinstance(content, dict) or not isinstance(checksums := content.pop("checksums", None), dict):
        raise ArchiveError(f"{path} was not written by MIHA: its manifest has no checksums.")
    if content.get("format_version") != FORMAT_VERSION:
        raise ArchiveError(
            f"{path} has format {content.get('format_version')}, this MIHA reads {FORMAT_VERSION}. Train again."
        )
    if content.pop("checksum", None) != found:
        raise ArchiveError(f"{path} was altered: the checksum of its manifest differs. Restore it or train again.")
    for name, data in payload.items():
        if checksums.get(name) != _sha256(data):
            raise ArchiveError(f"{path} was altered: the checksum of {name} differs. Restore it or train again.")
    try:
        return Manifest.model_validate(content), payload
    except ValidationError as error:
        raise ArchiveError(f"{path} has a manifest that cannot be understood: {error.errors()[0]['msg']}.") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse names, compression and sizes that we never write, before a byte of them is read."""
    if [member.filename for member in members] != list(_MEMBERS):
        raise ArchiveError(f"{path} is no model archive: it should hold {', '.join(_MEMBERS)} and nothing else.")
    size = path.stat().st_size
    for member in members:
        if (
            member.flag_bits
            or member.compress_type != zipfile.ZIP_STORED
            or member.file_size != member.compress_size
            or member.file_size > size
            or stat.S_ISLNK(member.external_attr >> 16)
        ):
            raise ArchiveError(
                f"{path}: {member.filename} is a link or states a wrong size. It was not written by MIHA."
            )
    if members[0].file_size > MAX_MANIFEST:
        raise ArchiveError(f"{path} has a manifest of {members[0].file_size} bytes; at most {MAX_MANIFEST} are read.")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """In the order of names, each with memory of its own (tied parameters share theirs)."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
