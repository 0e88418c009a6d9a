"""Who descends from whom: the path of a run through its winners."""

import pandas as pd


def lineage_frame(history: pd.DataFrame, population: pd.DataFrame) -> pd.DataFrame:
    """The epochs that led to the final model: the mainline and the selected candidates, in the order of training.

    Args:
        history: rows as in ``history.csv``.
        population: rows as in ``population.csv``.
    """
    selected = population.loc[population.selected, ["cycle", "candidate"]]
    winners = history.merge(selected, on=["cycle", "candidate"])
    return pd.concat([history[history.candidate.isna()], winners]).sort_values("epoch", ignore_index=True)
