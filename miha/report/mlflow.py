"""A run for MLflow, as it is made: a run of MLflow for the mainline, and below it one for each candidate.

They are written to one SQLite file: no server is needed, and nothing is sent anywhere. (MLflow's other store, a folder
of plain files, it refuses by default.)
"""

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before the import, which may start it

from mlflow.entities import Metric, Param, RunTag
from mlflow.telemetry import set_telemetry_client
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from miha.events import CandidateFailed, EpochEnded, Event, RunEnded, RunStarted, Selected, StageStarted
from miha.files import digest_json
from miha.records.record import StageId, model_path
from miha.report.curves import figures

EXPERIMENT, FILE = "miha", "mlflow.db"
_SAME = "miha.digest"  # tag by which a run that continues is found again
_MOST = 100  # parameters at once


class MLflow:
    """An observer of events that writes to ``FOLDER/mlflow.db`` while its ``with`` block runs.

    A run has the keys of its ``config.json`` as parameters, the losses of the mainline by epoch, and tags that say what
    each cycle selected and where the models lie; a candidate has its change, its losses and its fitness. A run
    that continues goes on where it was. Stages that are reused were written by the call that trained them.
    """

    def __init__(self, folder: Path) -> None:
        set_telemetry_client()  # ends what an import of mlflow before ours may have started
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # else it tells of the tables it makes
        folder.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(tracking_uri=f"sqlite:///{(folder / FILE).absolute()}")
        found = self.client.get_experiment_by_name(EXPERIMENT)
        artifacts = (folder / "artifacts").absolute().as_uri()
        self.experiment: str = found.experiment_id if found else self.client.create_experiment(EXPERIMENT, artifacts)
        self.runs: dict[str, str] = {}  # name of a candidate, or "" of the mainline → identifier
        self.failed: set[str] = set()
        self.lock = threading.RLock()  # events of workers come in a thread of their own

    def __enter__(self) -> "MLflow":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        for name, identifier in self.runs.items():
            self.client.set_terminated(identifier, "FAILED" if name in self.failed else ended)

    def __call__(self, event: Event) -> None:
        """Write down one event, if it has something to keep."""
        with self.lock:
            if isinstance(event, RunStarted):
                self._begin(event)
            elif isinstance(event, StageStarted) and event.stage.kind == "candidate":
                self._log(self._candidate(event.stage), params={"change": str(event.change)})
            elif isinstance(event, EpochEnded):
                name = self._candidate(event.stage) if event.stage.kind in ("candidate", "heat") else ""
                self._log(name, figures(event.epoch), step=event.epoch.epoch)
            elif isinstance(event, CandidateFailed):
                self.failed.add(self._candidate(event.stage))
                self._log(self._candidate(event.stage), tags={"status": f"failed: {event.reason}"})
            elif isinstance(event, Selected):
                self._select(event)
            elif isinstance(event, RunEnded):
                model = str(model_path(Path(event.run_dir).absolute(), "best"))
                best = {f"best/{name}": value for name, value in figures(event.epoch).items()}
                self._log("", best, tags={"best": event.best, "model": model, "gains": " ".join(event.gains)})

    def _begin(self, event: RunStarted) -> None:
        run_dir = Path(event.run_dir).absolute()
        content = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
        self.runs = {"": self._find({_SAME: digest_json([str(run_dir), content])}, run_dir.name)}
        computed = {"device": event.device, "precision": event.precision, "epochs": event.budget}
        tags = {"run_dir": str(run_dir), "schedule": event.schedule}
        self._log("", params={**_flat(content), **computed}, tags=tags)

    def _candidate(self, stage: StageId) -> str:
        """Name of a candidate, whose run is there from now on."""
        name = f"{stage.cycle}_{stage.candidate}"
        if name not in self.runs:
            parent = {MLFLOW_PARENT_RUN_ID: self.runs[""]}
            self.runs[name] = self._find({**parent, "candidate": name}, name)
        return name

    def _select(self, event: Selected) -> None:
        selection = event.selection
        for one in selection.outcomes:
            scores = {"fitness": one.fitness, "level": one.level, "rate": one.rate, "noise": one.noise}
            stage = StageId(kind="candidate", cycle=one.cycle, candidate=one.candidate)
            tags = {"status": one.status, "selected": str(one.candidate == selection.selected).lower()}
            known = {name: value for name, value in scores.items() if value is not None}
            self._log(self._candidate(stage), known, params={"change": str(one.change)}, tags=tags)
        self._log("", tags={f"cycle {selection.cycle}": str(selection.winner.change)})

    def _find(self, tags: dict[str, str], name: str) -> str:
        """Identifier of the run with these tags, which goes on, or of a new one."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        for run in self.client.search_runs([self.experiment], wanted, max_results=1):
            self.client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        return str(self.client.create_run(self.experiment, run_name=name, tags=tags).info.run_id)

    def _log(
        self,
        name: str,
        metrics: Mapping[str, float] = {},
        *,
        step: int = 0,
        params: Mapping[str, Any] = {},
        tags: Mapping[str, str] = {},
    ) -> None:
        now, keys = int(1000 * time.time()), list(params)
        for start in range(0, max(len(keys), 1), _MOST):
            self.client.log_batch(
                self.runs[name],
                metrics=[Metric(key, value, now, step) for key, value in metrics.items()] if start == 0 else [],
                params=[Param(key, str(params[key])) for key in keys[start : start + _MOST]],
                tags=[RunTag(key, value) for key, value in tags.items()] if start == 0 else [],
            )


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keys in one level, ``schedule.cycles``."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
