"""The descent of a run's final model: stages of the mainline, and between them the candidates of each cycle."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from miha.records.selection import STOPPED
from miha.report.sentences import change_phrase, cycle_sentences

STAGES = {
    "base": "Base: the network before any training",
    "initial": "Initial training",
    "fixing": "Training goes on from it",
    "final": "Final training",
}


@dataclass(frozen=True)
class Candidate:
    """One candidate of a cycle; ``mark`` is ★ selected, ○ another, also one that stopped early, × lost."""

    number: int
    mark: str
    phrase: str
    fitness: float | None
    status: str


@dataclass(frozen=True)
class Step:
    """One step down the mainline.

    Attributes:
        title: what it is.
        sentence: what came of it.
        candidates: those of a cycle, the fittest first; none of a stage.
    """

    title: str
    sentence: str
    candidates: tuple[Candidate, ...] = ()


def descent(history: pd.DataFrame, population: pd.DataFrame) -> list[Step]:
    """All steps, in the order of training.

    Args:
        history: rows as in ``history.csv``.
        population: rows as in ``population.csv``.
    """
    sentences, described, steps = cycle_sentences(population), set[int](), list[Step]()
    mainline = history[history.candidate.isna()]
    for (kind, number), epochs in mainline.groupby(["stage", "cycle"], sort=False):
        cycle = int(str(number))
        if kind == "fixing" and cycle in sentences and cycle not in described:
            described.add(cycle)
            steps.append(Step(f"Cycle {cycle}", sentences[cycle], _candidates(population[population.cycle == cycle])))
        steps.append(Step(STAGES.get(str(kind), f"{kind} training"), _of_stage(epochs)))
    return steps


def _of_stage(epochs: pd.DataFrame) -> str:
    first, last = epochs.iloc[0], epochs.iloc[-1]
    loss = f"validation loss {last.valid_loss:.4f}"
    if last.epoch == 0:
        return loss
    span = f"epoch {first.epoch}" if first.epoch == last.epoch else f"epochs {first.epoch} to {last.epoch}"
    return f"{span}: {loss}"


def _candidates(rows: pd.DataFrame) -> tuple[Candidate, ...]:
    found: list[Candidate] = []
    row: Any
    for row in rows.sort_values("fitness", ascending=False).itertuples():
        mark = "★" if row.selected else "○" if row.status in ("ok", STOPPED) else "×"
        fitness = float(row.fitness) if row.status == "ok" else None
        found.append(Candidate(int(row.candidate), mark, change_phrase(row).removesuffix(","), fitness, row.status))
    return tuple(sorted(found, key=lambda one: one.mark != "★"))
