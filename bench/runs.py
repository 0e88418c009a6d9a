"""Runs of MIHA in a benchmark: what they may change, and what is told of each."""

import pandas as pd

from bench.results import Result
from miha.run import Run

ARTICLE_OPERATORS = {"optimizer": 1.0, "activation": 1.0, "batch_size": 1.0}
DIGITS_BATCH = 64  # samples, to start with, or throughout where it is not searched


def figures_of(run: Run) -> Result:
    """Epochs, seconds of training, the changes that won, and the best model's hyperparameters.

    Seconds are summed over the processes; of a stage that was interrupted, those since its last checkpoint.
    """
    population = pd.read_csv(run.run_dir / "population.csv")
    return {
        "epochs": len(run.history),
        "seconds": float(pd.read_csv(run.run_dir / "timings.csv", header=None)[2].sum()),
        "won": population[population.selected].change.tolist() if len(population) else [],
        "best": run.best.hyperparameters.model_dump(mode="json"),
    }
