"""Files for DVC: a flat summary to compare runs by, and what is plotted; the same bytes for the same run."""

from pathlib import Path
from typing import Any

from miha.files import replacing_folder, write_json
from miha.problems.judgement import Judgement
from miha.problems.registry import archived_problem
from miha.records.archive import read_manifest
from miha.records.lineage import lineage_frame
from miha.records.record import model_path
from miha.records.tables import read_tables


def write_summary(path: Path, metrics: dict[str, Any]) -> None:
    """Write what tells runs apart in a table: the run's own figures, total epochs, and the winning hyperparameters.

    Args:
        path: a JSON file.
        metrics: as :func:`miha.report.evaluate.evaluate` returns them.
    """
    point = metrics["hyperparameters"]
    activations = ", ".join(f"{layer} {name}" for layer, name in sorted(point["activations"].items()))
    own = {key: value for key, value in metrics.items() if key not in ("methods", "hyperparameters")}
    write_json(path, {**own, **point, "activations": activations})


def write_plots(folder: Path, run_dir: Path, data: Path, judgement: Judgement) -> None:
    """Write ``learning.csv``, and what the problem has: ``errors.csv`` by case, and its figures under ``maps/``.

    Args:
        folder: where to write, in place of what is there.
        run_dir: a finished run.
        data: the data set it is judged on.
        judgement: what :func:`miha.report.evaluate.evaluate` returns.
    """
    lineage = lineage_frame(*read_tables(run_dir))
    model = model_path(run_dir, "best")
    figures = archived_problem(read_manifest(model).problem, data).figures(model)
    with replacing_folder(folder) as temporary:
        lineage.drop(columns="candidate").to_csv(temporary / "learning.csv", index=False, lineterminator="\n")
        if judgement.errors is not None:
            judgement.errors.to_csv(temporary / "errors.csv", lineterminator="\n")
        for name, figure in figures.items():
            (temporary / "maps").mkdir(exist_ok=True)
            figure.savefig(temporary / "maps" / f"{name}.png", dpi=110, metadata={"Software": None})
