"""The tidy log of a run, made anew from its records and never appended to."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from miha.evolution.crossover import Judged, crossovers
from miha.evolution.hyperparameters import Hyperparameters
from miha.evolution.mutation import Child
from miha.records.record import StageRecord


class CandidateOutcome(BaseModel):
    """How one candidate of a cycle fared.

    ``status`` is ``ok``, ``diverged``, or ``failed: why``. Scores are None unless the candidate is ``ok``.
    """

    model_config = ConfigDict(frozen=True)

    cycle: int
    candidate: int
    change: str
    hyperparameters: Hyperparameters
    status: str
    fitness: float | None = None
    level: float | None = None
    rate: float | None = None


class Failure(BaseModel):
    """A candidate that failed for good, and why."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    reason: str


class Selection(BaseModel):
    """The decision of one cycle. It is kept: a resumed run never decides anew, nor revives a candidate that failed.

    ``digests`` are those of the candidates' stages and ``criterion`` is that of the fitness settings; a selection
    counts only for the very same candidates judged in the same way.
    """

    model_config = ConfigDict(frozen=True)

    cycle: int
    selected: int
    criterion: str
    digests: tuple[str, ...]
    outcomes: tuple[CandidateOutcome, ...]

    @property
    def winner(self) -> CandidateOutcome:
        """The selected candidate."""
        return next(outcome for outcome in self.outcomes if outcome.candidate == self.selected)

    def crossovers(self, parent: Hyperparameters) -> list[Child]:
        """What the next cycle may take over: the winner with the change of another that was fitter than the control."""
        judged = [
            Judged(one.hyperparameters, one.change, -math.inf if one.fitness is None else one.fitness)
            for one in self.outcomes
        ]
        return crossovers(parent, judged, self.selected)


def history_frame(records: Iterable[StageRecord]) -> pd.DataFrame:
    """One row per (stage, cycle, candidate, epoch); ``candidate`` is empty on the mainline."""
    rows: list[dict[str, Any]] = []
    for record in records:
        place = {"stage": record.stage, "cycle": record.cycle, "candidate": record.candidate}
        for epoch in record.epochs:
            said = epoch.model_dump()
            rows.append(
                {
                    **place,
                    **{key: said[key] for key in ("epoch", "train_loss", "valid_loss")},
                    **said["metrics"],
                    **{key: said[key] for key in ("batch_size", "optimizer", "lr")},
                }
            )
    return pd.DataFrame(rows).astype({"candidate": "Int64"})


POPULATION_COLUMNS = ["cycle", "candidate", "change", "fitness", "level", "rate", "status", "selected"]


def population_frame(selections: Sequence[Selection]) -> pd.DataFrame:
    """One row per candidate of every cycle."""
    rows = [
        {**outcome.model_dump(exclude={"hyperparameters"}), "selected": outcome.candidate == selection.selected}
        for selection in selections
        for outcome in selection.outcomes
    ]
    return pd.DataFrame(rows, columns=POPULATION_COLUMNS)


def read_tables(run_dir: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``history.csv`` and ``population.csv`` of a run, with the types they were written with."""
    history = pd.read_csv(run_dir / "history.csv").astype({"candidate": "Int64"})
    types = {
        "cycle": "int64",
        "candidate": "Int64",
        "fitness": "float64",
        "level": "float64",
        "rate": "float64",
        "selected": "bool",
    }
    return history, pd.read_csv(run_dir / "population.csv").astype(types)
