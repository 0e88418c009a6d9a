"""Where a run comes from, ``provenance.json``: what depends on clock, host and revision, apart from what does not."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from miha.documents import read_document
from miha.errors import RunError
from miha.files import write_json

FILE = "provenance.json"
LIBRARIES = ("torch", "numpy", "scikit-learn", "rasterio", "pandas", "pydantic")


class _Kept(BaseModel):
    keep: Literal["all", "final"]
    workers: int | None = None


class _Configuration(BaseModel):
    """The keys of a configuration that are read back; all others are kept."""

    model_config = ConfigDict(extra="allow")

    schedule: dict[str, Any]
    unchanged: bool
    replay: tuple[dict[str, Any], ...] = ()
    run: _Kept


class Provenance(BaseModel):
    """What ``provenance.json`` says; keys beside these are kept.

    Attributes:
        configuration: of the run, as JSON.
        data: path of the data set; in the file, of one in the folder of the run relative to that, which may be moved.
        data_digest: its fingerprint.
        epochs: of the whole run.
        ended: why its search ended before its last cycle, a sentence; "" if it did not.
        finished: when, UTC.
        host: name of the machine.
        miha: version of MIHA.
        git_revision: of the checkout that MIHA ran from; None outside one.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    configuration: _Configuration
    data: str
    data_digest: str
    epochs: int
    ended: str = ""
    finished: str
    host: str
    miha: str
    git_revision: str | None


def read_provenance(run_dir: Path) -> Provenance:
    """The provenance of a finished run.

    Raises:
        RunError: not the directory of a finished run, or the file is damaged.
    """
    file = run_dir / FILE
    if not file.exists():
        raise RunError(f"{run_dir} is not the directory of a finished run: it has no {FILE}. Run optimize first.")
    read = read_document(file, Provenance, RunError, "Remove it and run optimize again.")
    return read.model_copy(update={"data": str(run_dir.absolute() / read.data)})


def write_provenance(run_dir: Path, content: dict[str, Any]) -> None:
    """Write ``provenance.json``: what is given, and versions, host, git revision and clock."""
    write_json(
        run_dir / FILE,
        {
            "miha": version("miha"),
            "git_revision": _git_revision(),
            "libraries": {name: installed for name in LIBRARIES if (installed := _installed(name))},
            "python": platform.python_version(),
            "host": platform.node(),
            "machine": platform.machine(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **content,
        },
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None  # the tuner alone needs neither rasterio nor scikit-learn


def _git_revision(package: Path = Path(__file__).parents[1]) -> str | None:
    """Revision of MIHA's own checkout, marked if it has changes; None where it is installed as a package.

    A virtual environment may lie in somebody else's checkout, whose revision says nothing of MIHA's.
    """
    git = ["git", "-C", str(package)]
    try:
        root = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, timeout=10)
        if root.returncode or Path(root.stdout.strip()).resolve() != package.parent.resolve():
            return None
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
