"""A run as a tree for the terminal: the mainline, and under each of its stages the candidates that start from it."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.tree import Tree

from miha.errors import RunError
from miha.records.archive import read_manifest
from miha.records.provenance import FILE, read_provenance
from miha.records.record import StageId, model_path
from miha.records.tables import read_tables


def lineage_tree(run_dir: Path) -> Tree:
    """The tree of a run, also of one that has not ended.

    Raises:
        RunError: no run, or one without a finished stage.
        ArchiveError: the best model is damaged.
    """
    if not (run_dir / "history.csv").exists():
        raise RunError(f"{run_dir} is not the directory of a run: it has no history.csv. Run optimize first.")
    history, population = read_tables(run_dir)
    best = model_path(run_dir, "best")
    best_name = read_manifest(best).origin if best.exists() else None
    tree = Tree(escape(str(run_dir)))
    mainline = history[history.candidate.isna()]
    winner = ""
    for _, epochs in mainline.groupby(["stage", "cycle"], sort=False):
        stage = StageId(kind=epochs.stage.iloc[0], cycle=int(epochs.cycle.iloc[0]))
        fixed = stage.kind == "fixing"
        label = [f"[bold]{stage.name}[/]", _epochs(epochs), *([f"from {winner}"] if fixed and winner else [])]
        node = tree.add("  ".join([*label, *(["[green]best[/]"] if stage.name == best_name else [])]))
        following = {"initial": 1, "fixing": stage.cycle + 1}.get(stage.kind)
        winner = ""
        for one in population[population.cycle == following].itertuples():
            name = f"{one.cycle}_{one.candidate}"
            winner = name if one.selected else winner
            node.add(_candidate(name, one, history), style="green" if one.selected else "")
    if (run_dir / FILE).exists() and (ended := read_provenance(run_dir).ended):
        tree.add(escape(ended))
    return tree


def _epochs(rows: pd.DataFrame) -> str:
    """From which epoch to which, and the loss after the last."""
    first, last = rows.epoch.iloc[0], rows.epoch.iloc[-1]
    span = f"epoch {last}" if first == last else f"epochs {first}–{last}"
    loss = rows.valid_loss.iloc[-1]
    return f"{span}  loss {'not finite' if pd.isna(loss) else f'{loss:.4g}'}"


def _candidate(name: str, one: Any, history: pd.DataFrame) -> str:
    rows = history[(history.cycle == one.cycle) & (history.candidate == one.candidate)]
    label = [name, escape(one.change), *([_epochs(rows)] if len(rows) else [])]
    if not pd.isna(one.fitness):
        label.append(f"fitness {one.fitness:+.4f}")
    if one.status != "ok":
        label.append(escape(one.status))
    return "  ".join([*label, *(["selected"] if one.selected else [])])
