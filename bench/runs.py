"""Runs of MIHA in a benchmark: what they may change, and what is reported of each."""

from pathlib import Path

import pandas as pd
from torch import nn

from bench.results import Result
from miha.config import RunConfig
from miha.errors import ArchiveError
from miha.records.archive import read_manifest
from miha.records.record import model_path
from miha.records.tables import CHANGE_COLUMNS, count_epochs, read_tables
from miha.run import Run, optimize

ARTICLE_OPERATORS = {"optimizer": 1.0, "activation": 1.0, "batch_size": 1.0}
DIGITS_BATCH = 64  # samples, to start with, or throughout where it is not searched


def count_parameters(network: nn.Module) -> int:
    """Number of trainable numbers in a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def figures_of(run: Run) -> Result:
    """Epochs, seconds of training, the changes that won, and the best model's hyperparameters.

    Seconds are summed over the processes; of a stage that was interrupted, those since its last checkpoint.
    """
    _, population = read_tables(run.run_dir)
    won = population.loc[population.selected, CHANGE_COLUMNS].to_dict("records")
    return {
        "epochs": count_epochs(run.history),
        "seconds": float(pd.read_csv(run.run_dir / "timings.csv", header=None)[2].sum()),
        "won": [
            {
                **one,
                "before": value_of(one["before"]),
                "after": value_of(one["after"]),
                "members": [int(number) for number in one["members"].split()],
            }
            for one in won
        ],
        "best": run.best.hyperparameters.model_dump(mode="json"),
    }


def small_network(data: Path) -> Path:
    """Archive of a network that learned two epochs of a few samples: as fast as any, no better than the base."""
    archive = model_path(run_dir := data.parent / "runs" / data.name, "final")
    try:
        read_manifest(archive)
    except ArchiveError:  # none yet, or one of another version
        problem = {"name": "gapfill", "data": data, "train_samples": 16, "valid_samples": 8}
        schedule, run = {"initial_epochs": 1, "cycles": 0, "final_epochs": 1}, {"workers": 1, "device": "cpu"}
        optimize(RunConfig(problem=problem, run_dir=run_dir, schedule=schedule, run=run, replace=True))
    return archive


def value_of(text: str) -> float | str | None:
    """A value before or after a change, which the table holds as text: a number, a name, or none."""
    try:
        return float(text)
    except ValueError:
        return text or None
