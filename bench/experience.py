"""What directions of changes were worth in the trainings of ``bench.tuning``: which of them won over the control."""

import math
from collections import Counter
from collections.abc import Mapping

from bench.results import Result, table
from miha.evolution.experience import TRIES
from miha.evolution.prior import Tally

FEWEST = 3  # tries of a direction in a task that count

Runs = Mapping[str, Mapping[str, Result]]  # task → seed → result


def counted(tally: Tally | None) -> dict[str, list[int]]:
    """Wins and tries of the numbers that went up or down in a run."""
    tries = tally.tries if tally else {}
    wins = tally.wins if tally else {}
    return {kind: [wins[kind], number] for kind, number in tries.items() if kind.endswith(("/up", "/down"))}


def summed(runs: Runs) -> dict[str, dict[str, tuple[int, int]]]:
    """Task → direction → wins and tries of all runs."""
    found = {}
    for task, of_task in runs.items():
        wins, tries = Counter[str](), Counter[str]()
        for result in of_task.values():
            for kind, (won, number) in result.get("tried", {}).items():
                wins[kind] += won
                tries[kind] += number
        found[task] = {kind: (wins[kind], number) for kind, number in sorted(tries.items())}
    return found


def learned(runs: Runs, without: str = "") -> Tally:
    """Mean over tasks of the share of wins of each direction, as if it had been tried TRIES times.

    Args:
        runs: their results.
        without: a task that is left out, whose own runs shall not have told.
    """
    shares: dict[str, list[float]] = {}
    for task, kinds in summed(runs).items():
        for kind, (wins, tries) in kinds.items():
            if task != without and tries >= FEWEST:
                shares.setdefault(kind, []).append(wins / tries)
    wins = {kind: math.floor(TRIES * sum(found) / len(found) + 0.5) for kind, found in sorted(shares.items())}
    return Tally(wins=wins, tries=dict.fromkeys(wins, TRIES))


def experience_table(runs: Runs) -> str:
    """Table: wins of tries by task, and what ``miha.tune`` starts from."""
    sums, known = summed(runs), learned(runs)
    if not known.tries:
        return ""
    rows = []
    for kind in known.wins:
        cells = ["{} of {}".format(*kinds[kind]) if kind in kinds else "" for kinds in sums.values()]
        rows.append([kind.replace("/", " "), *cells, f"{known.wins[kind]} of {TRIES}"])
    return table(["direction: won over the control", *sums, "what `miha.tune` begins with"], rows)
