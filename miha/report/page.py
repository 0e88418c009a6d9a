"""The page of a run, in one self-contained HTML file."""

import base64
import io
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure
from pydantic import BaseModel

from miha.config import Schedule
from miha.documents import read_document
from miha.errors import ArchiveError, DataError, RunError
from miha.events import Working, publish
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.prior import Tally
from miha.files import write_text
from miha.problems.registry import archived_problem
from miha.records.archive import Manifest, read_manifest
from miha.records.gains import gains
from miha.records.provenance import Provenance, read_provenance
from miha.records.record import model_path
from miha.records.tables import count_epochs, read_prior, read_tables
from miha.report.plots import plot_history


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` of a finished run; returns its path.

    Raises:
        RunError: not the directory of a finished run.
        ArchiveError: the base or the best model is damaged.
    """
    publish(Working(f"report of {run_dir.name}"))
    provenance = read_provenance(run_dir)
    history, population = read_tables(run_dir)
    base, best = (read_manifest(model_path(run_dir, name)) for name in ("base", "best"))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    template = environment.from_string((resources.files("miha.report") / "page.html").read_text(encoding="utf-8"))
    title, figures, why_none = _figures(run_dir, best, Path(provenance.data))
    last = best.record.epochs[-1]
    page = template.render(
        name=run_dir.absolute().name,
        best=best,
        last=last,
        gains=gains(base.record, best.record, population),
        epochs=count_epochs(history),
        budget=_budget(provenance),
        figure=_embed(plot_history(history, population)),
        population=population.to_dict("records"),
        chances=_chances(run_dir),
        figures_title=title,
        figures=figures,
        why_none=why_none,
        simulated=best.extras.get("simulated", False),
        configuration=provenance.configuration.model_dump_json(indent=2),
        provenance=provenance.model_dump(exclude={"configuration"}),
    )
    write_text(run_dir / "report.html", page)
    return run_dir / "report.html"


def _chances(run_dir: Path) -> list[dict[str, Any]]:
    """How often each operator won over the control, in this run and those of its prior, and its chance to win again."""
    said = read_document(run_dir / "config.json", _Prior, RunError, "Run optimize again.")
    tally = (said.prior or Tally()) + (read_prior([run_dir]) or Tally())
    rows = [
        {"name": name, "wins": tally.wins[name], "tries": tally.tries[name], "chance": tally.mean(name)}
        for name in HYPERPARAMETERS
        if tally.tries.get(name)
    ]
    return sorted(rows, key=lambda row: -row["chance"])


class _Prior(BaseModel):
    """Of a ``config.json``, what changes were worth in earlier runs."""

    prior: Tally | None = None


def _budget(provenance: Provenance) -> str:
    told = provenance.configuration
    if told.replay:
        return f"{provenance.epochs} epochs along a schedule that another run found"
    return f"{provenance.epochs} epochs = {Schedule.model_validate(told.schedule).describe(told.unchanged)}"


def _figures(run_dir: Path, best: Manifest, data: Path) -> tuple[str, list[str], str]:
    """Heading and embedded figures of what the model does; and why there are none, if the problem should have some."""
    try:
        problem = archived_problem(best.problem, data)
        figures = problem.figures(model_path(run_dir, "best"))
        return problem.figures_title, [_embed(figure) for figure in figures.values()], ""
    except (ArchiveError, DataError) as error:
        return "Figures", [], f"No figures: {error}"


def _number(value: float | None) -> str:
    """Four digits, or a dash for a number that is not finite."""
    return "–" if value is None else f"{value:.4f}"


def _embed(figure: Figure) -> str:
    """A figure as a data URL."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
