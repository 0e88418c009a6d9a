"""Other tuners, those that are installed, on the samples, network and budget of a run of MIHA."""

from importlib.util import find_spec
from pathlib import Path

from bench.results import Result
from miha import RunConfig

OPTUNA_ARTICLES, OPTUNA = "Optuna, article's space", "Optuna, our space"
PBT, PB2 = "Ray Tune PBT, our space", "Ray Tune PB2, our space"
NEEDS = {OPTUNA_ARTICLES: "optuna", OPTUNA: "optuna", PBT: "ray", PB2: "ray"}


def is_missing(column: str) -> bool:
    """True for a tuner that is not installed, which is said."""
    missing = column in NEEDS and not find_spec(NEEDS[column])
    if missing:
        print(f"{column}: left out, since {NEEDS[column]} is not installed (pip install 'miha[bench]')")
    return missing


def search_with(column: str, config: RunConfig, model: Path, trial_epochs: int) -> Result:
    """Spend a run's budget of epochs with another tuner; the archive of the best network is written to ``model``.

    Args:
        column: which tuner.
        config: of the run.
        model: where the archive is written.
        trial_epochs: of Optuna, epochs of a trial that is not pruned.
    """
    if column in (PBT, PB2):
        from bench.pbt import search as population

        return population(config, model, config.schedule.closing_epochs, "pb2" if column == PB2 else "pbt")
    from bench.optuna_search import layered, ours
    from bench.optuna_search import search as trials

    return trials(config, model, trial_epochs, layered if column == OPTUNA_ARTICLES else ours)
