"""The tidy log of a run, ``history.csv`` and ``population.csv``: made anew from its records and never appended to."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from miha.errors import ConfigError, RunError
from miha.evolution.change import Change
from miha.evolution.prior import Tally
from miha.records.record import StageRecord
from miha.records.selection import Selection, won


def history_frame(records: Iterable[StageRecord]) -> pd.DataFrame:
    """One row per (stage, cycle, candidate, epoch); ``candidate`` is empty on the mainline.

    A metric that is called as another column is, as ``lr``, has the column ``metric_lr``.
    """
    rows: list[dict[str, Any]] = []
    for record in records:
        place = {"stage": record.stage.kind, "cycle": record.stage.cycle, "candidate": record.stage.candidate}
        for epoch in record.epochs:
            values = epoch.model_dump(exclude={"metrics", "shares"})  # archives have the shares
            columns = place | values
            metrics = {f"metric_{name}" if name in columns else name: one for name, one in epoch.metrics.items()}
            last = {key: values.pop(key) for key in ("batch_size", "optimizer", "lr")}
            rows.append({**place, **values, **metrics, **last})
    return pd.DataFrame(rows).astype({"candidate": "Int64"})


CHANGE_COLUMNS = list(Change.model_fields)
POPULATION_COLUMNS = [
    *("cycle", "candidate", "change", *CHANGE_COLUMNS),
    *("fitness", "level", "rate", "noise", "status", "selected"),
]


def population_frame(selections: Sequence[Selection]) -> pd.DataFrame:
    """One row per candidate of every cycle; ``change`` is for people, the columns behind it say the same in parts."""
    rows = [
        {
            **outcome.model_dump(exclude={"hyperparameters"}),
            **outcome.change.model_dump(),
            "change": str(outcome.change),
            "members": " ".join(map(str, outcome.change.members)),
            "selected": outcome.candidate == selection.selected,
        }
        for selection in selections
        for outcome in selection.outcomes
    ]
    return pd.DataFrame(rows, columns=POPULATION_COLUMNS)


def count_epochs(history: pd.DataFrame) -> int:
    """How many epochs were trained, those of all candidates counted; a soup trains none."""
    return int(((history.epoch > 0) & (history.stage != "soup")).sum())


def read_tables(run_dir: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``history.csv`` and ``population.csv`` of a run, with the types they were written with.

    Values before and after a change are text, since each hyperparameter has a type of its own.

    Raises:
        RunError: one of them is missing, damaged, or of another version.
    """
    types = {
        "cycle": "int64",
        "candidate": "Int64",
        "crossed": "bool",
        "fitness": "float64",
        "level": "float64",
        "rate": "float64",
        "noise": "float64",
        "selected": "bool",
    }
    texts = ("operator", "target", "before", "after", "members")
    try:
        history = pd.read_csv(run_dir / "history.csv").astype({"candidate": "Int64"})
        population = pd.read_csv(run_dir / "population.csv", dtype=dict.fromkeys(texts, str))
        return history, population.fillna(dict.fromkeys(texts, "")).astype(types)[POPULATION_COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{run_dir} holds no history.csv and population.csv of a run of this version ({error}). Run the same "
            "optimize again; it writes them."
        ) from error


def read_prior(runs: Sequence[Path]) -> Tally | None:
    """What changes were worth in earlier runs, from their ``population.csv``; None without any run.

    Raises:
        ConfigError: one is not the folder of a run with a population, or its table cannot be read.
    """
    tally = Tally() if runs else None
    for run in runs:
        try:
            _, population = read_tables(run)
        except RunError as error:
            raise ConfigError(f"search.prior: {error}") from error
        changes = population[list(CHANGE_COLUMNS[:-1])].to_dict("records")
        controls = population[(population.operator == "") & (population.members == "")].set_index("cycle").level
        levels = population.cycle.map(controls)
        tried = [
            (Change.model_validate(change), won(level, control, noise))
            for change, level, control, noise, members in zip(
                changes, population.level, levels, population.noise, population.members, strict=True
            )
            if not members
        ]
        tally = (tally or Tally()) + Tally.of(tried)
    return tally
