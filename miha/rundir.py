"""The directory of one run: held by one process, never losing archives, and what stands in it at the end."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from miha.documents import read_document
from miha.errors import RunError
from miha.files import remove_unfinished, replacing, write_json
from miha.locking import held
from miha.records import provenance
from miha.records.archive import read_archive, write_archive
from miha.records.record import StageId, StageRecord, model_path
from miha.records.selection import Selection
from miha.records.tables import history_frame, population_frame

_REPLACING = ".replacing"  # stands in the directory until what another configuration left there is removed
KEPT = ("base", "final", "best")  # archives of a finished run that keeps its final models only
DECISIVE_FOR_SAMPLES = ("problem", "network_digest", "data_digest", "seed", "format_version")  # keys of config.json


class _FormerSchedule(BaseModel):
    model_config = ConfigDict(extra="allow")

    cycles: NonNegativeInt


class _Former(BaseModel):
    """A ``config.json``: of all its keys, what is read by name."""

    model_config = ConfigDict(extra="allow")

    schedule: _FormerSchedule


class RunDirectory:
    """Files of one run; ``shown`` is the path as the user wrote it, for messages."""

    def __init__(self, shown: Path) -> None:
        self.shown = shown
        self.path = shown.absolute()
        self.cache = self.path / "cache"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory while a block runs.

        What killed processes left half written is removed before it, and after it if it succeeds.

        Raises:
            RunError: another process holds it, or it cannot be written to.
        """
        with held(self.shown, "choose another --run-dir."):
            self._remove_unfinished()
            yield
            self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        for folder in (self.path, self.path / "model", self.path / "population", self.cache):
            remove_unfinished(folder)

    def _archives(self) -> list[Path]:
        return sorted(path for folder in ("model", "population") for path in (self.path / folder).glob("[!.]*.zip"))

    def refuse_loss(self, decisive: dict[str, Any], replace: bool) -> None:
        """Refuse if archives of another configuration would be lost; a run that only gets more cycles loses none.

        Args:
            decisive: all that decides the result, as JSON.
            replace: archives of another configuration may be lost.

        Raises:
            RunError: archives would be lost; the message names what differs.
        """
        if not self._archives() or replace:
            return
        advice = "Choose another --run-dir, or pass --replace to lose them."
        if not (self.path / "config.json").exists():
            raise RunError(f"{self.shown} holds {len(self._archives())} archives but no config.json. {advice}")
        former = self._former(advice)
        before, now = _flat(former), _flat(decisive)
        cycles_before, cycles_now = before.pop("schedule.cycles", 0), now.pop("schedule.cycles")
        lost = [
            f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key)
        ]
        if cycles_now < cycles_before:
            lost.append(f"schedule.cycles was {cycles_before}, is {cycles_now}")
        if lost:
            raise RunError(f"{self.shown} holds archives of another configuration: {'; '.join(lost)}. {advice}")

    def claim(self, decisive: dict[str, Any], replace: bool) -> None:
        """Write ``config.json``; a run that ended here has then not ended, since its tables are written anew.

        Of a run that is extended, ``model_final`` is kept as ``model_final_of_N_cycles.zip``. Samples of other data, of
        another problem or of other code are removed. A run that replaces another does so at its end, also if it is
        interrupted, and continued by a call that does not ask for it: until then archives may serve it.
        """
        former, final = self._former_if_whole(), model_path(self.path, "final")
        (self.path / provenance.FILE).unlink(missing_ok=True)
        if replace:
            (self.path / _REPLACING).touch()
        if former != decisive:
            if former and final.exists() and not (self.path / _REPLACING).exists():
                final.rename(final.with_name(f"model_final_of_{former['schedule']['cycles']}_cycles.zip"))
            if former and any(former.get(key) != decisive[key] for key in DECISIVE_FOR_SAMPLES):
                shutil.rmtree(self.cache, ignore_errors=True)
        write_json(self.path / "config.json", decisive)

    def finished_alone(self, decisive: dict[str, Any]) -> bool:
        """True if a run of this very configuration came to its end here and kept its final models only.

        Raises:
            RunError: its provenance is damaged.
        """
        files = [self.path / provenance.FILE, *(model_path(self.path, name) for name in KEPT)]
        if self._former_if_whole() != decisive or not all(file.exists() for file in files):
            return False
        return provenance.read_provenance(self.path).configuration.run.keep == "final"

    def _former(self, remedy: str) -> dict[str, Any]:
        """The configuration of an earlier run in this directory."""
        return read_document(self.path / "config.json", _Former, RunError, remedy).model_dump(mode="json")

    def _former_if_whole(self) -> dict[str, Any] | None:
        """The same; None if there is none, or it was damaged by whoever may replace it (:meth:`refuse_loss` asks)."""
        try:
            return self._former("")
        except RunError:
            return None

    def write_best(self, stage: StageId) -> None:
        """Copy one mainline archive to ``model_best.zip``, with its name as the origin."""
        manifest, weights, optimizer = read_archive(stage.archive(self.path))
        best = manifest.model_copy(update={"origin": stage.name})
        write_archive(model_path(self.path, "best"), best, weights, optimizer)

    def write_tables(self, records: Sequence[StageRecord], selections: Sequence[Selection]) -> None:
        """Write ``history.csv`` and ``population.csv`` anew."""
        for name, frame in (("history", history_frame(records)), ("population", population_frame(selections))):
            with replacing(self.path / f"{name}.csv") as temporary:
                frame.to_csv(temporary, index=False, lineterminator="\n")

    def remove_leftovers(
        self, records: Sequence[StageRecord], selections: Sequence[Selection], files: Sequence[Path]
    ) -> None:
        """Where this run replaces another, remove archives and decisions that are not its own.

        Args:
            records: of this run.
            selections: of this run.
            files: other files of this run.
        """
        if not (self.path / _REPLACING).exists():
            return
        ours = {*files, model_path(self.path, "best"), *(record.stage.archive(self.path) for record in records)}
        for selection in selections:
            names = [f"{selection.cycle}_selection.json"]
            for number in range(len(selection.outcomes)):
                name = f"{selection.cycle}_{number}"
                names += [f"{name}_failure.json", f"{name}_heat_failure.json", f"{name}_heat_model.zip"]
            ours |= {self.path / "population" / name for name in names}
        for pattern in ("model/*.zip", "population/*.zip", "population/*.json"):
            for path in set(self.path.glob(pattern)) - ours:
                path.unlink()
        (self.path / _REPLACING).unlink()

    def keep_final_only(self) -> None:
        """Remove all archives but those of KEPT, and the samples."""
        for path in set(self._archives()) - {model_path(self.path, name) for name in KEPT}:
            path.unlink()
        shutil.rmtree(self.cache, ignore_errors=True)

    def write_provenance(self, content: dict[str, Any]) -> None:
        """Write ``provenance.json``: what is given, and versions, host, git revision and clock."""
        provenance.write_provenance(self.path, content)


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    flat = pd.json_normalize(content).iloc[0].to_dict()
    return {
        str(key): json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
        for key, value in flat.items()
    }
