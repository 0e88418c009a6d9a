"""Files for DVC: a flat summary to compare runs by, and what is plotted; the same bytes for the same run."""

from pathlib import Path
from typing import Any

import pandas as pd

from miha.files import replacing_folder, write_json
from miha.problems.filler import Filler, can_fill
from miha.records.archive import archive_path, read_manifest
from miha.records.history import read_tables
from miha.records.lineage import lineage_frame
from miha.report.evaluate import MIHA
from miha.report.maps import example_maps


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


def write_plots(folder: Path, run_dir: Path, data: Path, errors: pd.DataFrame) -> None:
    """Write ``learning.csv``, and for gap filling ``errors.csv`` and ``maps/gap_NN.png``, in place of ``folder``.

    Args:
        folder: where to write.
        run_dir: a finished run.
        data: the data set it is judged on.
        errors: the table that :func:`miha.report.evaluate.evaluate` returns.
    """
    lineage = lineage_frame(*read_tables(run_dir))
    model = archive_path(run_dir, "best")
    with replacing_folder(folder) as temporary:
        lineage.drop(columns="candidate").to_csv(temporary / "learning.csv", index=False, lineterminator="\n")
        if not can_fill(read_manifest(model)):
            return
        by_gap = errors[MIHA].rename("mae").rename_axis("gap").reset_index()
        by_gap.to_csv(temporary / "errors.csv", index=False, lineterminator="\n")
        (temporary / "maps").mkdir()
        for gap, figure in example_maps(Filler(model, data)).items():
            figure.savefig(temporary / "maps" / f"gap_{gap}.png", dpi=110, metadata={"Software": None})
