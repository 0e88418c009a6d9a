"""The page of a run, in one self-contained HTML file."""

import base64
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from miha.errors import ArchiveError, DataError, RunError
from miha.files import write_text
from miha.problems.filler import Filler, can_fill
from miha.records.archive import Manifest, archive_path, read_manifest
from miha.records.history import read_tables
from miha.report.maps import example_maps
from miha.report.plots import plot_history


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` of a finished run; returns its path.

    Raises:
        RunError: not the directory of a finished run.
        ArchiveError: the best model is damaged.
    """
    provenance_file = run_dir / "provenance.json"
    if not provenance_file.exists():
        raise RunError(
            f"{run_dir} is not the directory of a finished run: it has no provenance.json. Run optimize first."
        )
    provenance = json.loads(provenance_file.read_text())
    history, population = read_tables(run_dir)
    best = read_manifest(archive_path(run_dir, "best"))
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (resources.files("miha.report") / "page.html").read_text(encoding="utf-8")
    )
    maps, why_no_maps = _maps(run_dir, best, Path(provenance["data"]))
    last = best.record.epochs[-1]
    page = template.render(
        name=run_dir.absolute().name,
        best=best,
        last=last,
        epochs=len(history),
        budget=_budget(provenance["configuration"], provenance["epochs"]),
        figure=_embed(plot_history(history, population)),
        population=population.to_dict("records"),
        maps=maps,
        why_no_maps=why_no_maps,
        simulated=best.extras.get("simulated", False),
        configuration=json.dumps(provenance["configuration"], indent=2),
        provenance={key: value for key, value in provenance.items() if key != "configuration"},
    )
    write_text(run_dir / "report.html", page)
    return run_dir / "report.html"


def _budget(configuration: dict[str, Any], epochs: int) -> str:
    schedule = configuration["schedule"]
    final = schedule["final_epochs"] or schedule["initial_epochs"]
    if configuration["unchanged"]:
        return f"{epochs} epochs with unchanged hyperparameters"
    return (
        f"{epochs} epochs: {schedule['initial_epochs']} initial + {schedule['cycles']} cycles of "
        f"({schedule['population_size']} candidates × {schedule['candidate_epochs']} + {schedule['fixing_epochs']} "
        f"fixing) + {final} final"
    )


def _maps(run_dir: Path, best: Manifest, data: Path) -> tuple[list[str], str]:
    """Embedded figures of some held-out gaps, or why there are none."""
    try:
        if not can_fill(best):
            return [], "This problem has no maps."
        return [_embed(figure) for figure in example_maps(Filler(archive_path(run_dir, "best"), data)).values()], ""
    except (ArchiveError, DataError) as error:
        return [], f"No maps: {error}"


def _embed(figure: Figure) -> str:
    """A figure as a data URL."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
