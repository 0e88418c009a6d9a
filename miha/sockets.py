"""Where sockets between processes of one machine lie: the system takes short paths alone."""

import os
import tempfile
from multiprocessing import util
from pathlib import Path

_LONGEST = 64  # bytes of a folder: of a whole path the system takes 103 (macOS) or 107 (Linux)
_SHORT = "/tmp"


def socket_folder() -> Path:
    """The folder of this process for sockets, where multiprocessing puts its own too; removed when the process ends.

    It is among temporary files, or in /tmp if their folder (TMPDIR) has too long a name. Processes that are started
    after the first call use it as well.
    """
    former = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST:
        tempfile.tempdir = _SHORT
    try:
        return Path(util.get_temp_dir())
    finally:
        tempfile.tempdir = former
