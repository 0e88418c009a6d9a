"""Starting real programs in tests, and looking at what becomes of their processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


def environment(home: Path, **more: str) -> dict[str, str]:
    """A user's environment with a Prefect home of its own; worker processes can import what tests define."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT")}
    path = f"{ROOT}{os.pathsep}{kept.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    return {
        **kept,
        **quiet,
        "PATH": f"{BIN}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": path,
        "PREFECT_HOME": str(home),
        **more,
    }


@contextmanager
def running(command: list[str], log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs while the block does, with all its children; what it prints is in ``log``.

    It listens to Ctrl-C as in a terminal, even where the tests run in the background of a shell that has it ignored.
    """
    with log.open("wb") as output:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a handler of ours is the child's default
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=ROOT, start_new_session=True
        )
        signal.signal(signal.SIGINT, before)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(what: Callable[[], object], seconds: float, log: Path | None = None) -> None:
    """Wait until ``what()`` is true; fails after ``seconds``, and shows the log."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not within {seconds} s: {log.read_text()[-3000:] if log else what}"
        time.sleep(0.1)


def logged(log: Path, text: str) -> Callable[[], bool]:
    """Whether a program has printed a text."""
    return lambda: log.exists() and text in log.read_text()


def descendants(pid: int) -> set[int]:
    """Processes started by ``pid``, and by those."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def alive(pids: set[int]) -> list[str]:
    """Which of these processes still run (a zombie does not), with their command lines."""
    listed = subprocess.run(["ps", "-eo", "pid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [" ".join(row) for row in rows if int(row[0]) in pids and not row[1].startswith("Z")]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
