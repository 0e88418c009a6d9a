"""How good the best model of a run is: the problem judges it, beside other runs."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from miha.documents import read_document
from miha.errors import RunError
from miha.problems.judgement import OURS, Judgement
from miha.problems.registry import archived_problem
from miha.records.archive import read_manifest
from miha.records.record import model_path
from miha.records.tables import count_epochs, read_tables


class _Seeded(BaseModel):
    """The key of ``config.json`` that judging needs."""

    model_config = ConfigDict(extra="allow")

    seed: NonNegativeInt


def evaluate(run_dir: Path, data: Path, against: Path | None = None) -> tuple[dict[str, Any], Judgement]:
    """Judge the best model of a run; returns all figures as JSON, and what the problem says.

    Args:
        run_dir: of a run.
        data: the data set to judge by.
        against: another run of the same problem, as a further column.

    Raises:
        ArchiveError: a model that cannot be used with ``data``.
        DataError: nothing to judge by.
        RunError: the run directory is damaged.
    """
    archives = {_column(against): model_path(against, "best")} if against else {}
    archives[OURS] = model_path(run_dir, "best")
    manifest = read_manifest(archives[OURS])
    config = read_document(run_dir / "config.json", _Seeded, RunError, "Run optimize again to restore it.")
    judgement = archived_problem(manifest.problem, data).judge(archives, run_dir.absolute() / "cache", config.seed)
    metrics = {
        **judgement.metrics,
        "best": manifest.origin,
        "epochs": count_epochs(read_tables(run_dir)[0]),
        "hyperparameters": manifest.record.hyperparameters.model_dump(mode="json"),
    }
    return metrics, judgement


def _column(run_dir: Path) -> str:
    """What the column of another run is called: its folder's name, but for that of the run that is judged."""
    name = run_dir.absolute().name
    return f"{name} (run)" if name == OURS else name
