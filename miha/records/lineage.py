"""Who descends from whom: the path of a run through its winners."""

import pandas as pd


def lineage_frame(history: pd.DataFrame, population: pd.DataFrame) -> pd.DataFrame:
    """The epochs that led to the final model: the mainline and the selected candidates, in the order of training.

    Of a selected soup the curve of the member whose hyperparameters go on, then the soup.

    Args:
        history: rows as in ``history.csv``.
        population: rows as in ``population.csv``.
    """
    selected = population.loc[population.selected, ["cycle", "candidate"]]
    soups = population[population.selected & (population.members != "")]
    first = soups.members.str.split().str[0].astype("Int64")
    curves = pd.concat([selected, soups[["cycle"]].assign(candidate=first)])
    winners = history.merge(curves, on=["cycle", "candidate"])
    lineage = pd.concat([history[history.candidate.isna()], winners])
    return lineage.sort_values("epoch", ignore_index=True, kind="stable")
