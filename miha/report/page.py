"""The page of a run, in one self-contained HTML file: to be read by somebody who was not there."""

import base64
import io
import math
import re
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from pydantic import BaseModel

from miha.config import Schedule
from miha.documents import read_document
from miha.errors import ArchiveError, DataError, RunError
from miha.events import Working, publish
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.prior import Tally
from miha.files import write_text
from miha.problems.presentation import Presentation
from miha.problems.registry import archived_problem
from miha.records.archive import Manifest, read_manifest
from miha.records.gains import gains
from miha.records.provenance import Provenance, read_provenance
from miha.records.record import model_path
from miha.records.tables import count_epochs, read_prior, read_tables
from miha.report.descent import descent
from miha.report.plots import plot_history
from miha.threads import usable_cores
from miha.training.workers import compute_all, working
from miha.wording import plural

MOST_PROCESSES = 4  # each needs a second to start


def write_report(run_dir: Path, thorough: bool = False) -> Path:
    """Write ``report.html`` of a finished run; returns its path.

    Args:
        run_dir: of the run.
        thorough: judge the model on all there is (minutes), not on what takes seconds.

    Raises:
        RunError: not the directory of a finished run.
        ArchiveError: the base or the best model is damaged.
    """
    publish(Working(f"report of {run_dir.name}"))
    provenance = read_provenance(run_dir)
    history, population = read_tables(run_dir)
    base, best = (read_manifest(model_path(run_dir, name)) for name in ("base", "best"))
    processes = min(provenance.configuration.run.workers or usable_cores(), MOST_PROCESSES)
    shown, why_none = _presented(run_dir, best, Path(provenance.data), processes, thorough)
    data = Path(provenance.data).name
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "svg": _svg, "png": _png}
    files = resources.files("miha.report")
    template = environment.from_string((files / "page.html").read_text(encoding="utf-8"))
    page = template.render(
        title=": ".join(filter(None, (shown.subject or str(best.problem["name"]), data))),
        style=Markup((files / "page.css").read_text(encoding="utf-8")),
        name=run_dir.absolute().name,
        shown=shown,
        chances=_chances(run_dir),
        why_none=why_none,
        best=best,
        base=base,
        sentences=[*shown.sentences, *gains(base.record, best.record, population, provenance.ended)],
        cost=f"{plural(count_epochs(history), 'epoch')} trained: {_budget(provenance)}",
        figure=plot_history(history, population),
        history_alt=_history_alt(history, population),
        steps=descent(history, population),
        population=population.to_dict("records"),
        top=(top := max((one.high or one.value for one in shown.estimates), default=1.0)),
        decimals=max(0, 2 - math.floor(math.log10(top or 1.0))),
        simulated=best.extras.get("simulated", False),
        configuration=provenance.configuration.model_dump_json(indent=2),
        provenance=provenance.model_dump(exclude={"configuration"}),
    )
    write_text(run_dir / "report.html", page)
    return run_dir / "report.html"


def _chances(run_dir: Path) -> list[dict[str, Any]]:
    """How often each operator won over the control, in this run and those of its prior, and its chance to win again."""
    config = read_document(run_dir / "config.json", _Prior, RunError, "Run optimize again.")
    tally = (config.prior or Tally()) + (read_prior([run_dir]) or Tally())
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
    config = provenance.configuration
    if config.replay:
        return f"{provenance.epochs} along a schedule that another run found"
    if provenance.ended:
        schedule = Schedule.model_validate(config.schedule)
        return f"{schedule.budget} = {schedule.describe(config.unchanged)}; the search ended early"
    return f"{provenance.epochs} = {Schedule.model_validate(config.schedule).describe(config.unchanged)}"


def _presented(run_dir: Path, best: Manifest, data: Path, processes: int, thorough: bool) -> tuple[Presentation, str]:
    """What the problem shows of the model; and why it shows nothing, if it should."""
    try:
        with working(processes) if processes > 1 else nullcontext():
            return archived_problem(best.problem, data).present(model_path(run_dir, "best"), compute_all, thorough), ""
    except (ArchiveError, DataError) as error:
        return Presentation(), f"The model could not be judged or drawn: {error}"


def _history_alt(history: pd.DataFrame, population: pd.DataFrame) -> str:
    mainline = history[history.candidate.isna()]
    first, last = mainline.valid_loss.iloc[0], mainline.valid_loss.iloc[-1]
    cycles = plural(population.cycle.nunique(), "cycle")
    return (
        f"Line chart of the validation loss along the mainline: from {first:.4f} to {last:.4f} over "
        f"{plural(mainline.epoch.max(), 'epoch')}, with the candidates of {cycles}."
    )


def _number(value: float | None) -> str:
    """Four digits, or a dash for a number that is not finite."""
    return "–" if value is None else f"{value:.4f}"


def _png(content: bytes) -> str:
    """An image as a data URL."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _svg(figure: Figure) -> str:
    """A figure as a data URL, drawn in lines, so that it is sharp at any size."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"<(\?xml|!DOCTYPE)[^>]*>\s*", "", buffer.getvalue())
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()
