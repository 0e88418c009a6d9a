"""Faults that really happen, planned for a moment of a run: a process that is killed, a disk that refuses, …

A plan is a file in the data folder of :class:`tiny.TinyProblem`; whichever process reaches the moment carries it out,
and every time it does is counted in a second file. Nothing here replaces a part of MIHA.
"""

import json
import math
import os
import resource
import signal
import time
from pathlib import Path

from miha import events
from miha.errors import ConfigError

ALWAYS = 1000

_watched: Path | None = None
_loss_factor = 1.0


def plan(folder: Path, fault: str, moment: str, times: int = 1, damage: Path | None = None) -> None:
    """Plan ``fault`` for the first ``times`` at a ``moment``; ``damage`` is the file to truncate.

    A moment is an event's kind and stage, as in ``epoch ended 1_2``, or the cycle of a selection: ``selected 1``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {"fault": fault, "moment": moment, "times": times, "damage": str(damage) if damage else None}
    (folder / "fault.json").write_text(json.dumps(content))
    (folder / "happened").write_text("")


def happened(folder: Path) -> int:
    """How often the planned fault happened."""
    return len((folder / "happened").read_text())


def over(folder: Path) -> None:
    """From now on nothing happens any more."""
    (folder / "fault.json").unlink()
    recover()


def recover() -> None:
    """Undo in this process what outlives a fault."""
    global _loss_factor
    _loss_factor = 1.0
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def watch(folder: Path) -> None:
    """In a process that trains: carry out what is planned in ``folder``."""
    global _watched
    _watched = folder
    if _strike not in events._observers:
        events._observers.append(_strike)


def loss_factor() -> float:
    return _loss_factor


def _strike(event: events.Event) -> None:
    if _watched is None or not (_watched / "fault.json").exists():
        return
    planned = json.loads((_watched / "fault.json").read_text())
    if isinstance(event, events.StageStarted | events.StageEnded):
        recover()
    where = event.selection.cycle if isinstance(event, events.Selected) else getattr(event, "stage", "")
    if f"{event.kind} {where}" != planned["moment"]:
        return
    if happened(_watched) < planned["times"]:
        with (_watched / "happened").open("a") as ledger:
            ledger.write("!")
            ledger.flush()
            os.fsync(ledger.fileno())
        if planned["damage"]:
            damaged = Path(planned["damage"])
            damaged.write_bytes(damaged.read_bytes()[:-100])
        FAULTS[planned["fault"]]()


def _raise() -> None:
    raise RuntimeError("a planned fault")


def _time_out() -> None:
    raise TimeoutError("a planned time-out")  # as storage of a network does


def _refuse() -> None:
    raise ConfigError("a planned mistake")


def _diverge() -> None:
    global _loss_factor
    _loss_factor = math.nan


def _limit_files(size: int) -> None:
    """The kernel refuses to let any file of this process grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _die_writing() -> None:
    """The kernel kills this process in the middle of its next archive."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _limit_files(3000)


FAULTS = {
    "raises": _raise,
    "times out": _time_out,
    "says it is a mistake": _refuse,
    "process killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "killed while it saves": _die_writing,
    "terminated": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "interrupted": lambda: os.kill(os.getpid(), signal.SIGINT),
    "hangs": lambda: time.sleep(600),
    "diverges": _diverge,
    "disk full": lambda: _limit_files(100),  # not even a record of the failure has room
    "disk nearly full": lambda: _limit_files(3700),  # an archive has none, not even that of the base; a decision has
    "parent damaged": lambda: None,
    "parent damaged late": lambda: None,
}
