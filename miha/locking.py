"""A folder held by one process at a time; the lock of a dead process counts for nothing."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from miha.errors import RunError


@contextmanager
def held(folder: Path, remedy: str) -> Iterator[None]:
    """Hold ``folder`` (made where it is missing) while the block runs.

    Args:
        folder: as the user wrote it, for messages.
        remedy: what else to do if it cannot be held, e.g. "choose another folder."

    Raises:
        RunError: another process holds it, named in the message; or it cannot be made.
    """
    lock, holder = FileLock(folder / ".lock"), folder / ".holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        holder.write_text(f"process {os.getpid()} on {platform.node()}")
    except Timeout:
        try:
            who = holder.read_text()
        except OSError:
            who = "another process"
        raise RunError(f"{folder} is in use by {who}. Wait for it, stop it, or {remedy}") from None
    except OSError as error:
        lock.release()
        raise RunError(f"{folder} cannot be used as a folder: {error.strerror}. Please {remedy}") from error
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
