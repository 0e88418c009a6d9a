"""What a measurement leaves behind: a JSON file with every figure, and a table in docs/results.md.

The JSON is written after each finished result, so that a bench that was killed continues where it stood.
"""

import json
import multiprocessing
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from miha.errors import MihaError
from miha.files import write_json, write_text
from miha.training.workers import follow_parent

ROOT = Path(__file__).resolve().parent.parent
RESULTS, DOCUMENT, RUNS = ROOT / "bench" / "results", ROOT / "docs" / "results.md", ROOT / "runs" / "bench"
LIBRARIES = ("miha", "torch", "numpy", "scikit-learn", "optuna", "ray")

Result = dict[str, Any]
Job = tuple[str, int, Callable[[], Result]]  # column, seed, and how to measure


class Results:
    """The results of one bench, by column and seed (or repeat).

    Args:
        name: of the bench; the files are ``<folder>/<name>.json`` and the block ``bench.<name>`` of the document.
        settings: all that decides the figures, as JSON; results of other settings are not reused.
        fresh: forget the results of an earlier call.
        folder: for the JSON.
        document: the Markdown file for the table; None: only the JSON is written.

    Raises:
        MihaError: there are results of other settings, and ``fresh`` is not set.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        fresh: bool,
        folder: Path = RESULTS,
        document: Path | None = DOCUMENT,
    ) -> None:
        self.name, self.document, self.file = name, document, folder / f"{name}.json"
        self.settings = json.loads(json.dumps(settings, default=str))
        self.results: dict[str, dict[str, Result]] = {}
        if self.file.exists() and not fresh:
            stored = json.loads(self.file.read_text())
            if stored["settings"] != self.settings:
                raise MihaError(f"{self.file} holds results of other settings. Pass --fresh to measure them all anew.")
            self.results = stored["results"]

    def once(self, column: str, seed: int | str, measure: Callable[[], Result]) -> Result:
        """The stored result of a column and seed, or else what ``measure`` returns, stored."""
        stored = self.results.setdefault(column, {})
        if not self.has(column, seed):
            print(f"{self.name} · {column} · {seed} …", flush=True)
            stored[str(seed)] = {**measure(), "git_revision": git_revision(), "date": today()}
            self.save()
            print(f"{self.name} · {column} · {seed}: {_brief(stored[str(seed)])}", flush=True)
        return stored[str(seed)]

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs whose result is not stored yet."""
        return [(column, seed, measure) for column, seed, measure in jobs if not self.has(column, seed)]

    def has(self, column: str, seed: int | str) -> bool:
        """True if the result of a column and seed is stored."""
        return str(seed) in self.results.get(column, {})

    def each(self, jobs: Sequence[Job], processes: int) -> None:
        """Measure what is not stored yet, several jobs side by side, each in a process of its own pool."""
        left = self.left(jobs)
        with process_pool(processes) as pool:
            running = {pool.submit(measure): (column, seed) for column, seed, measure in left}
            for done, future in enumerate(as_completed(running), start=1):
                column, seed = running[future]
                self.once(column, seed, future.result)
                print(f"{done} of {len(left)} done", flush=True)

    def values(self, column: str, key: str) -> list[float]:
        """One figure of a column for all seeds, in their order."""
        return [result[key] for _, result in sorted(self.results[column].items(), key=lambda item: int(item[0]))]

    def save(self) -> None:
        """Write the JSON."""
        content = {"bench": self.name, "settings": self.settings, "machine": machine(), "results": self.results}
        write_json(self.file, content)

    def publish(self, text: str) -> None:
        """Print a Markdown text, and put it into the document beside the command and the machine."""
        print(f"\n{text}\n", flush=True)
        if self.document:
            facts = machine()
            days = sorted(result["date"] for column in self.results.values() for result in column.values())
            when = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else today()
            block = f"`{facts['command']}`\n\n{text}\n\n{facts['cpu']}, {facts['cores']} cores; {when}, "
            put_block(self.document, f"bench.{self.name}", block + f"PyTorch {facts['libraries']['torch']}.")


def process_pool(processes: int) -> ProcessPoolExecutor:
    """Fresh processes that end when the bench does: one that was killed must not go on writing its runs."""
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=follow_parent)


def put_block(document: Path, name: str, text: str) -> None:
    """Put a text between ``<!-- name -->`` and ``<!-- /name -->``; a document without these gets them at its end."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before = document.read_text(encoding="utf-8") if document.exists() else ""
    block = f"{begin}\n{text}\n{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(before):
        after = pattern.sub(lambda _: block, before, count=1)
    else:
        after = f"{before.rstrip()}\n\n{block}\n".lstrip()
    write_text(document, after)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], form: str = ".4f") -> str:
    """Mean and standard deviation over seeds, e.g. ``0.9853 ± 0.0012``; the mean alone of one value."""
    average = format(mean(values), form)
    return f"{average} ± {format(stdev(values), form)}" if len(values) > 1 else average


def _brief(result: Result) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in result.items() if isinstance(value, int | float))


def machine() -> dict[str, Any]:
    """Where and with what: CPU, cores, library versions, git revision, date, command line."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "git_revision": git_revision(),
        "date": today(),
        "command": _command(),
    }


def today() -> str:
    """The date in UTC, YYYY-MM-DD."""
    return datetime.now(UTC).date().isoformat()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _command() -> str:
    """As it was typed, folders outside the checkout by their name alone."""
    program = sys.modules["__main__"].__spec__
    start = f"python -m {program.name}" if program else Path(sys.argv[0]).name
    return shlex.join(
        [*shlex.split(start), *(Path(word).name if word.startswith("/") else word for word in sys.argv[1:])]
    )


def git_revision() -> str | None:
    """Revision of the checkout, marked if it has changes; None outside one."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
