"""Tables for the terminal: errors by gap size, and what an archive holds."""

import json
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table

from miha.evolution.point import Hyperparameters
from miha.problems.judgement import Judgement
from miha.records.archive import read_archive
from miha.records.provenance import FILE, read_provenance


def judgement_table(judgement: Judgement) -> Table:
    """A table of what was judged, a column for each method; the best of each row stands out."""
    return errors_table(judgement.table, judgement.title, judgement.lower_is_better)


def errors_table(frame: pd.DataFrame, title: str, lower_is_better: bool | None = True) -> Table:
    """A table of figures, a column for each method; the best of each row stands out, if one can be."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column(str(frame.index.name or ""), no_wrap=True)
    for method in frame.columns:
        table.add_column(str(method), justify="right", overflow="fold", min_width=5)
    for label, row in frame.iterrows():
        best = {True: row.min(), False: row.max(), None: None}[lower_is_better]
        cells = [f"[bold green]{value:.3f}[/]" if value == best else f"{value:.3f}" for value in row]
        table.add_row(str(label), *cells)
    return table


def archive_table(path: Path) -> RenderableType:
    """What a model archive holds; every checksum is verified on the way.

    Raises:
        ArchiveError: no archive, or a damaged one.
    """
    archive = read_archive(path)
    manifest, weights = archive.manifest, archive.weights
    record = manifest.record
    last = record.epochs[-1]
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    rows = {
        "stage": record.name if manifest.origin is None else f"{manifest.origin} (this is a copy of it)",
        "parent": ", ".join(map(str, record.parents)) or "none, fresh weights",
        "change": str(record.change),
        "problem": ", ".join(f"{key} {value}" for key, value in manifest.problem.items() if value is not None),
        "input shape": " × ".join(map(str, manifest.input_shape)) or "more than one tensor",
        "weights": f"{sum(tensor.numel() for tensor in weights.values()):,} numbers in {len(weights)} tensors",
        "optimizer": f"{record.hyperparameters.optimizer}, {len(archive.optimizer_state)} tensors of state",
        **_hyperparameters(record.hyperparameters),
        "epochs": f"{record.epochs[0].epoch} to {record.last_epoch} of the mainline",
        "validation": f"loss {last.valid_loss}, "
        + ", ".join(f"{name} {value}" for name, value in last.metrics.items()),
        **({"unit": str(manifest.extras["unit"])} if "unit" in manifest.extras else {}),
        "digest": record.digest,
    }
    for name, value in {**rows, **_provenance(path)}.items():
        facts.add_row(name, value)
    curve = Table(box=None, pad_edge=False)
    for column in ("epoch", "training loss", "validation loss", *last.metrics):
        curve.add_column(column, justify="right")
    for epoch in record.epochs:
        numbers = (epoch.train_loss, epoch.valid_loss, *epoch.metrics.values())
        curve.add_row(str(epoch.epoch), *("–" if number is None else f"{number:.4f}" for number in numbers))
    return Group(facts, "", curve)


def _hyperparameters(point: Hyperparameters) -> dict[str, str]:
    """All but the optimizer, in words."""
    values = {
        name.replace("_", " "): f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in point.model_dump(exclude={"optimizer", "activations"}, exclude_none=True).items()
    }
    return {**values, "activations": ", ".join(f"{layer} {name}" for layer, name in point.activations.items())}


def _provenance(archive: Path) -> dict[str, str]:
    """Where the run of an archive comes from, if its ``provenance.json`` is still beside the folder of the archive."""
    run_dir = archive.absolute().parent.parent
    if not (run_dir / FILE).exists():
        return {}
    provenance = read_provenance(run_dir)
    return {
        "data": f"{provenance.data}, digest {provenance.data_digest}",
        "git revision": provenance.git_revision or "none, outside a checkout of MIHA",
        "parameters": json.dumps(provenance.configuration.model_dump()),
        "finished": f"{provenance.finished} on {provenance.host}, MIHA {provenance.miha}",
    }
