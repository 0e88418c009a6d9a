"""A folder held by one process at a time; the lock of a dead process counts for nothing."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from miha.errors import RunError
from miha.files import remove_unfinished


@contextmanager
def held(folder: Path, remedy: str) -> Iterator[None]:
    """Hold ``folder`` (made where it is missing) while the block runs; what a dead holder left half written is removed.

    Args:
        folder: as the user wrote it, for messages.
        remedy: what to do if it cannot be held, a sentence.

    Raises:
        RunError: another process holds it, named in the message; or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be used as a folder: {error.strerror}. {remedy}") from error
    lock, holder = FileLock(folder / ".lock"), folder / ".holder"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text() if holder.exists() else "another process"
        raise RunError(f"{folder} is in use by {who}. Wait for it, stop it, or: {remedy}") from None
    try:
        holder.write_text(f"process {os.getpid()} on {platform.node()}")
        remove_unfinished(folder)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
