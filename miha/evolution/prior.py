"""What earlier changes were worth: how often each kind of change won over no change, and drawing by it.

Thompson sampling (Thompson 1933, Biometrika 25): each kind of change has a chance to win, known as far as its wins and
losses tell, Beta(1 + wins, 1 + losses). For each turn a chance is drawn for every kind, and the highest has the turn:
what won often is tried often, and what is hardly known now and then.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from miha.evolution.change import Change


class Tally(BaseModel):
    """Wins and tries by kind of change: an operator, or an operator and its direction (``lr/down``, ``loss/focal``)."""

    model_config = ConfigDict(frozen=True)

    wins: dict[str, int] = {}
    tries: dict[str, int] = {}

    @classmethod
    def of(cls, tried: Iterable[tuple[Change, bool]]) -> "Tally":
        """Count changes, and whether each won over the control."""
        wins, tries = Counter[str](), Counter[str]()
        for change, won in tried:
            if change.drawn:
                for kind in (change.operator, kind_of(change)):
                    tries[kind] += 1
                    wins[kind] += won
        return cls(wins=dict(sorted(wins.items())), tries=dict(sorted(tries.items())))

    def __add__(self, other: "Tally") -> "Tally":
        wins, tries = Counter(self.wins), Counter(self.tries)
        wins.update(other.wins)
        tries.update(other.tries)
        return Tally(wins=dict(sorted(wins.items())), tries=dict(sorted(tries.items())))

    def mean(self, kind: str) -> float:
        """The chance of a kind of change to win, as far as it is known: the mean of its Beta distribution."""
        return (1 + self.wins.get(kind, 0)) / (2 + self.tries.get(kind, 0))

    def draw(self, weights: Mapping[str, float], rng: np.random.Generator) -> str:
        """The kind that has its turn.

        Args:
            weights: what each kind's drawn chance is multiplied by; not empty.
            rng: all the chance there is.
        """
        chances = {}
        for kind, weight in weights.items():
            wins, tries = self.wins.get(kind, 0), self.tries.get(kind, 0)
            chances[kind] = weight * rng.beta(1 + wins, 1 + tries - wins)
        return max(chances, key=lambda kind: chances[kind])


def kind_of(change: Change) -> str:
    """An operator with its direction: up or down of a number, else the new value (whichever channels it is for)."""
    before, after = (_number(value) for value in (change.before, change.after))
    if before is None or after is None:
        return f"{change.operator}/{str(change.after).partition('#')[0]}"
    return f"{change.operator}/{'up' if after > before else 'down'}"


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
