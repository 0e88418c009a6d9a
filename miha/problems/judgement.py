"""What comes of judging a model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

OURS = "miha"  # column of the model that is judged


@dataclass(frozen=True)
class Judgement:
    """How good a model is, beside others.

    Attributes:
        metrics: JSON; figures of the model, and those of others under ``methods`` by their names.
        table: a row for each case, a column for each method; column ``miha`` is the model.
        title: what the numbers of the table are, with their unit.
        lower_is_better: the table holds errors (True), scores (False), or some of each (None).
        verdict: one sentence on what the numbers say, if there is one to say.
        errors: the model's error by case, to plot, if cases have an order; index and column are named.
    """

    metrics: dict[str, Any]
    table: "pd.DataFrame"
    title: str
    lower_is_better: bool | None
    errors: "pd.DataFrame | None" = None
    verdict: str = ""
