"""Writing files so that a reader never meets half of one, and digests of what is in them."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from miha.errors import DataError, StorageError

_UNFINISHED = ".unfinished-"  # what the names of files and folders begin with while they are written
_FORMER = ".former-"  # and those of folders in whose place another is just moved


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success flush it to disk and rename it to ``path``.

    If the block raises, the temporary file is removed and whatever stood at ``path`` stays as it was. The temporary
    name keeps the suffix, since drivers (GDAL, matplotlib) choose a format by it.

    Raises:
        StorageError: the file system refused (disk full, no permission); the message names ``path``.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{_UNFINISHED}{path.stem}-", suffix=path.suffix)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        _flush(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write {path}: {error.strerror or error}. Free space or choose another folder.")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed left half written in ``folder``; nobody may be writing there.

    A folder that such a process had moved away, and put nothing in its place, is put back.
    """
    for path in folder.glob(f"{_UNFINISHED}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    for former in folder.glob(f"{_FORMER}*"):
        place = former.with_name(former.name.removeprefix(_FORMER).rpartition("-")[0])
        if place.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            former.rename(place)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def append_line(path: Path, line: str) -> None:
    """Append one short line; whole even when several processes do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (line + "\n").encode())
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON, atomically and with the same bytes for equal values."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def digest_json(value: Any) -> str:
    """SHA-256 (hex) of ``value`` as canonical JSON: sorted keys, no spaces, no NaN."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 (hex) of the bytes of one file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(paths: list[Path], root: Path) -> str:
    """SHA-256 (hex) over the names relative to ``root`` and the contents of ``paths``, in the order of the names.

    What cannot be read has no content.
    """
    return digest_json({path.relative_to(root).as_posix(): _digest_if_readable(path) for path in sorted(paths)})


def _digest_if_readable(path: Path) -> str | None:
    try:
        return digest_file(path)
    except OSError:
        return None


def stamp_files(paths: Iterable[Path]) -> str:
    """SHA-256 (hex) over names, sizes and times of change: tells cheaply that files are as they were."""
    return digest_json([[path.name, *_stamp(path)] for path in paths])


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a link that leads nowhere or to itself: whoever reads it tells of it
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def real(path: Path) -> Path:
    """A path without links; one that leads to itself stays, and whoever opens it tells of it."""
    return Path(os.path.realpath(path))


MARKER = ".miha"  # in folders that MIHA wrote whole, and may therefore replace


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; on success it takes the place of ``path``.

    If the block raises, the temporary folder is removed and whatever stood at ``path`` stays as it was.

    Raises:
        DataError: ``path`` is a file, or a folder with something in it that this function did not write.
        StorageError: the file system refused; the message names ``path``.
    """
    path = real(path)
    if path.exists() and not (path.is_dir() and ((path / MARKER).exists() or not any(path.iterdir()))):
        raise DataError(f"{path} exists and was not written by MIHA, so it is not replaced. Choose another folder.")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{_UNFINISHED}{path.name}-"))
        yield temporary
        (temporary / MARKER).write_text("Written whole by MIHA, and replaced when it writes here again.\n")
        temporary.chmod(0o755)
        former = temporary.with_name(temporary.name.replace(_UNFINISHED, _FORMER, 1))
        if path.exists():
            path.rename(former)  # a reader meets the whole of one or of the other
        try:
            temporary.rename(path)
        except OSError:
            if former.exists():
                former.rename(path)
            raise
        shutil.rmtree(former, ignore_errors=True)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
