"""What a run changed, as sentences: which change each cycle took over, and what that did to the validation loss."""

from typing import Any

import pandas as pd

from miha.records.selection import STOPPED
from miha.wording import plural

NAMES = {
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "batch_size": "batch size",
    "beta2": "second momentum (beta2)",
    "loss": "training loss",
}
TIMES = {
    0.1: "a tenth",
    0.2: "a fifth",
    0.25: "a quarter",
    0.3: "three tenths",
    0.5: "half",
    2: "twice",
    3: "three times",
    4: "four times",
    5: "five times",
    10: "ten times",
}
SCALED = ("lr", "weight_decay", "batch_size")  # whose ratio says more than their values


def change_phrase(row: Any) -> str:
    """A change as a noun phrase, e.g. ``a learning rate five times as high``.

    Args:
        row: of ``population.csv``, with ``operator``, ``target``, ``before``, ``after``, ``crossed`` and ``members``.
    """
    if row.members:
        *others, last = row.members.split()
        return f"the mean of candidates {', '.join(others)} and {last}"
    if not row.operator:
        return "no change"
    after = row.after if row.operator == "optimizer" else _short(row.after)
    before = _short(row.before)
    name = NAMES.get(row.target, row.target.replace("_", " "))
    if row.operator == "optimizer":
        phrase = f"the optimizer {after} in place of {before}"
    elif row.operator == "activation":
        phrase = f"{after} in place of {before} as the activation {row.target}"
    elif row.operator == "neuron_activation":
        both = " and ".join(str(row.after).partition("#")[0].split("+"))
        phrase = f"{both}, each in half of the channels, in place of {before} as the activation {row.target}"
    elif row.operator == "augmentation":
        phrase = f"augmentation of strength {after} in place of {before}"
    elif row.target in SCALED and (times := _times(row.before, row.after)):
        phrase = f"a {name} {times} as {'large' if row.target == 'batch_size' else 'high'} ({after})"
    else:
        phrase = f"a {name} of {after} in place of {before}"
    return f"{phrase}, tried in an earlier cycle," if row.crossed else phrase


def cycle_sentences(population: pd.DataFrame) -> dict[int, str]:
    """For each cycle a sentence about what went on from it.

    Args:
        population: rows as in ``population.csv``.
    """
    return {int(str(cycle)): _sentence(rows) for cycle, rows in population.groupby("cycle")}


def _sentence(rows: pd.DataFrame) -> str:
    winner: Any = next(rows[rows.selected].itertuples())
    control: Any = next(rows[(rows.candidate == 0) & (rows.status == "ok")].itertuples(), None)
    trained = rows[rows.members == ""]
    tried = len(trained) - 1
    stopped = int((trained.status == STOPPED).sum())
    failed = int((~trained.status.isin(("ok", STOPPED))).sum())
    lost = f" {failed} of {plural(len(trained), 'candidate')} failed." if failed else ""
    lost += f" {stopped} of {len(trained)} stopped early." if stopped else ""
    if not tried:
        return "There was no change to try."
    if winner.candidate == 0:
        many = "The one change" if tried == 1 else f"None of the {tried} changes"
        verb = "that was tried did not lower" if tried == 1 else "that were tried lowered"
        return f"{many} {verb} the validation loss by more than its noise; nothing was changed.{lost}"
    change = change_phrase(winner)
    change = change[0].upper() + change[1:]
    if control is None:
        return f"{change} was the fittest; the unchanged network failed, so its gain is not known.{lost}"
    gain = 100 * (float(winner.level) - float(control.level))
    word = "lowered" if gain >= 0 else "raised"
    noise = 100 * float(winner.noise) if pd.notna(winner.noise) else 0.0
    effect = f"{change} {word} the validation loss by {_percent(abs(gain))}"
    if not noise:
        return f"{effect}, compared with unchanged training.{lost}"
    return f"{effect}, {'more than' if gain > noise else 'within'} its noise of {_percent(noise)}.{lost}"


def _times(before: str, after: str) -> str:
    """The ratio of two numbers in words; "" where there is none."""
    try:
        ratio = float(after) / float(before)
    except (ValueError, ZeroDivisionError):
        return ""
    for times, word in TIMES.items():
        if abs(ratio / times - 1) < 0.02:
            return word
    return f"{ratio:.3g} times" if ratio > 0 else ""


def _short(value: Any) -> str:
    if value in ("", None):
        return "what is written in the network"
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return str(value)


def _percent(value: float) -> str:
    if value < 0.095:
        return f"{value:.1g} %"
    return f"{value:.1f} %" if value < 9.95 else f"{value:.0f} %"
