"""Runs of MIHA in a benchmark: what they may change, and what is reported of each."""

import pandas as pd
from torch import nn

from bench.results import Result
from miha.records.tables import CHANGE_COLUMNS, count_epochs, read_tables
from miha.run import Run

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


def value_of(text: str) -> float | str | None:
    """A value before or after a change, which the table holds as text: a number, a name, or none."""
    try:
        return float(text)
    except ValueError:
        return text or None
