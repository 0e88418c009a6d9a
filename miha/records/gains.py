"""What a run gained, in sentences: its training over the base, and its changes over the unchanged control."""

import pandas as pd

from miha.evolution.fitness import noise
from miha.records.record import StageRecord
from miha.wording import plural


def gains(base: StageRecord, best: StageRecord, population: pd.DataFrame, ended: str = "") -> tuple[str, ...]:
    """The first things to know of a run.

    Args:
        base: the network before training.
        best: the mainline stage that is the best model.
        population: rows as in ``population.csv``.
        ended: why the search ended before its last cycle, a sentence; "" if it did not.
    """
    return (_of_training(base, best), _of_changes(population), *([ended] if ended else []))


def _of_training(base: StageRecord, best: StageRecord) -> str:
    if best.stage == base.stage:
        return "Training added nothing: no model beat the base by more than chance, so the base is the best model."
    gain = (base.valid_loss - best.valid_loss) / (abs(base.valid_loss) or 1.0)
    error = noise(base.valid_loss, best.shares, base.shares)
    sentence = f"Training lowered the validation loss of the base by {100 * gain:.1f} %"
    if gain <= error:
        return f"{sentence}, no more than its standard error of {100 * error:.1f} %: it may have added nothing."
    return f"{sentence} (standard error {100 * error:.1f} %)."


def _of_changes(population: pd.DataFrame) -> str:
    if population.empty:
        return "No change of hyperparameters was tried."
    cycles, won = population.cycle.nunique(), int((population.selected & (population.operator != "")).sum())
    soups = int((population.selected & (population.members != "")).sum())
    return (
        f"In {won} of {plural(cycles, 'cycle')} a change of hyperparameters won over the unchanged control. How much "
        "all changes gained together is not known; a second run with --unchanged would show it."
        + (f" In {soups} of them the mean of several candidates went on." if soups else "")
    )
