"""``miha doctor``: what is installed, what this machine offers, what would be slow here and what to do about it."""

import importlib.util
import os
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rich.markup import escape
from rich.table import Table

from miha.threads import usable_cores

State = Literal["good", "slow", "broken"]

GIB = 2**30
NEEDED = ("torch", "numpy", "pandas")  # without them nothing works
EXTRAS = {"rasterio": "rasters", "scikit-learn": "rasters", "prefect": "prefect", "distributed": "dask"}
MEMORY_PER_PROCESS = 1.5 * GIB  # of a worker on scenes of 10,000 pixels, PyTorch and scikit-learn included
LEAST_DISK = 2 * GIB  # samples and archives of a small run take some 100 MiB
REMOTE = (
    "nfs",
    "cifs",
    "smb",
    "fuse.sshfs",
    "9p",
    "lustre",
    "gpfs",
)  # file systems whose locks and small files are slow
SIGNS = {"good": "[green]ok[/]", "slow": "[yellow]slow[/]", "broken": "[bold red]broken[/]"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, whether that is good, and if not what to do."""

    name: str
    found: str
    state: State = "good"
    advice: str = ""


def examine(run_dir: Path) -> list[Check]:
    """Look at everything that decides whether and how fast MIHA works here.

    Args:
        run_dir: folder in which runs are to be kept; it need not exist.
    """
    looks: tuple[Callable[[], Iterator[Check]], ...] = (_libraries, _cores, _threads, _device, _memory)
    checks = [check for look in looks for check in look()]
    return [*checks, *_disk(run_dir), *_prefect()]


def doctor_table(checks: list[Check]) -> Table:
    """The checks for the terminal."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, no_wrap=column == "what", overflow="fold")
    for check in checks:
        table.add_row(SIGNS[check.state], check.name, escape(check.found), escape(check.advice))
    return table


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _libraries() -> Iterator[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("MIHA", f"{_installed('miha') or 'not installed, run from its folder'}, Python {python}")
    for name in NEEDED:
        found = _installed(name)
        advice = "" if found else f"pip install {name}"
        yield Check(name, found or "missing", "good" if found else "broken", advice)
    for name, extra in EXTRAS.items():
        found = _installed(name)
        yield Check(name, found or "not installed", advice="" if found else f"if needed: pip install 'miha[{extra}]'")


def _cores() -> Iterator[Check]:
    cores, seen = usable_cores(), os.cpu_count() or 1
    found = f"{cores} of {seen} may be used" if cores < seen else f"{cores}"
    if cores < 2:
        yield Check("cores", found, "slow", "Candidates train one after another; a second core would halve the time.")
    else:
        yield Check("cores", f"{found}: so many candidates train at a time")
    load = os.getloadavg()[0]
    busy = load > 1.25 * cores
    advice = "Other programs use the cores. Wait for them, or expect to wait longer." if busy else ""
    yield Check("load", f"{load:.1f} in the last minute", "slow" if busy else "good", advice)


def _threads() -> Iterator[Check]:
    from threadpoolctl import threadpool_info

    if importlib.util.find_spec("torch"):
        import torch  # noqa: F401  # so that its libraries are seen
    found = sorted({f"{pool['internal_api']} {pool.get('version') or ''}".strip() for pool in threadpool_info()})
    yield Check(
        "thread libraries", f"{', '.join(found) or 'none'}; each process uses as many threads as run.threads says (1)"
    )
    if core := os.environ.get("OPENBLAS_CORETYPE"):
        advice = "It makes OpenBLAS take this processor for another one. Unset it and compare the time of a fill."
        yield Check("OPENBLAS_CORETYPE", core, "slow", advice)


def _device() -> Iterator[Check]:
    if not importlib.util.find_spec("torch"):
        return
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        yield Check("GPU", f"{name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free; taken by itself (run.device=auto)")
    else:
        yield Check("GPU", "none", advice="Small networks train well without; a large one of your own may not.")
    from miha.training.compute import bfloat16_is_fast

    fast = bfloat16_is_fast("cuda" if torch.cuda.is_available() else "cpu")
    if fast:
        yield Check("precision", "bfloat16 is computed in hardware, and taken for rasters (run.precision=auto)")
    else:
        advice = "Training of rasters takes up to twice as long as on a processor that has it."
        yield Check("precision", "float32; no bfloat16 in hardware", "slow", advice)


def _memory() -> Iterator[Check]:
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
        total = int(fields["MemTotal"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return  # no Linux
    processes = usable_cores()
    short = free < MEMORY_PER_PROCESS * processes
    fit = max(1, int(free // MEMORY_PER_PROCESS))
    advice = f"{processes} processes would swap. Set run.workers={fit}." if short else ""
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    yield Check("memory", found, "slow" if short else "good", advice)


def _disk(run_dir: Path) -> Iterator[Check]:
    folder = next(parent for parent in (run_dir.absolute(), *run_dir.absolute().parents) if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield Check("run folder", f"{folder} cannot be written to", "broken", "Choose another --run-dir.")
        return
    free = shutil.disk_usage(folder).free
    kind = _file_system(folder)
    found = f"{folder}: {free / GIB:.0f} GiB free{f', {kind}' if kind else ''}"
    if kind.startswith(REMOTE):
        yield Check(
            "run folder", found, "slow", "Locks and many small files are slow over a network. Take a local disk."
        )
    elif free < LEAST_DISK:
        yield Check("run folder", found, "slow", "Samples and archives may not fit. Free space, or set run.keep=final.")
    else:
        yield Check("run folder", found)


def _file_system(folder: Path) -> str:
    """Type of the file system of a folder; "" where the system does not tell."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    inside = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]))[1] if inside else ""


def _prefect() -> Iterator[Check]:
    if importlib.util.find_spec("prefect") is None:
        yield Check("Prefect server", "Prefect is not installed", advice="Pass --no-prefect to miha optimize.")
        return
    from prefect.settings import PREFECT_API_URL

    if not (url := PREFECT_API_URL.value()):
        found = "none is set; each run starts one of its own, which ends with it"
        advice = "To see runs later: prefect server start, and PREFECT_API_URL=http://127.0.0.1:4200/api"
        yield Check("Prefect server", found, advice=advice)
        return
    try:
        urllib.request.urlopen(f"{url}/health", timeout=5).close()
        yield Check("Prefect server", f"{url} answers")
    except (OSError, ValueError) as error:
        advice = "Start it (prefect server start), unset PREFECT_API_URL, or pass --no-prefect."
        yield Check("Prefect server", f"{url} does not answer ({error})", "broken", advice)
