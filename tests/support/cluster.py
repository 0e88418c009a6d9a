"""Starting a Dask cluster on this machine."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import BIN, environment, free_port, logged, running, wait_for


@contextmanager
def scheduling(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A scheduler while the block runs: its address and its process."""
    port = free_port()
    command = [str(BIN / "dask"), "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    log = folder / "scheduler.log"
    with running(command, log, environment(folder / "home")) as process:
        wait_for(logged(log, "Scheduler at:"), 60, log)
        yield f"tcp://127.0.0.1:{port}", process


def worker(address: str, name: str) -> list[str]:
    """The command that starts a worker of one process and one thread."""
    return [
        str(BIN / "dask"), "worker", address, "--nworkers", "1", "--nthreads", "1", "--name", name, "--no-dashboard",
        "--host", "127.0.0.1",
    ]  # fmt: skip
