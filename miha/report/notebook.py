"""What a notebook shows of a run: a few lines, and where its report is."""

from html import escape
from pathlib import Path

from miha.records.archive import read_manifest
from miha.records.gains import gains
from miha.records.provenance import read_provenance
from miha.records.record import model_path
from miha.records.tables import count_epochs, read_tables
from miha.wording import plural


def run_html(run_dir: Path) -> str:
    """A finished run in some lines of HTML.

    Raises:
        ArchiveError: the base or the best model is damaged.
    """
    base, best = (read_manifest(model_path(run_dir, name)).record for name in ("base", "best"))
    history, population = read_tables(run_dir)
    last = best.epochs[-1]
    figures = [f"validation loss {best.valid_loss:.4f} (base {base.valid_loss:.4f})"]
    figures += [f"{name} {value:.4f}" for name, value in last.metrics.items() if value is not None]
    report = run_dir / "report.html"
    lines = [
        f"<b>Run {escape(str(run_dir))}</b>: {plural(count_epochs(history), 'epoch')}, best model {escape(best.name)}",
        escape(", ".join(figures)),
        *map(escape, gains(base, best, population, read_provenance(run_dir).ended)),
        f'<a href="{escape(report.absolute().as_uri())}">report</a>' if report.exists() else "no report",
    ]
    return "<br>".join(lines)
