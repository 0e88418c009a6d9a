"""MIHA tunes the hyperparameters of a PyTorch network while it trains, and fills cloud gaps in rasters.

>>> import miha
>>> run = miha.optimize(miha.GapFill(data="data/scenes/madrid"), miha.RunConfig(run_dir="runs/madrid"))
>>> run.best.valid_loss, run.history.tail()
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miha.config import RunConfig
    from miha.errors import MihaError
    from miha.problems import GapFill, Mnist, Problem
    from miha.run import Run, optimize

_WHERE = {
    "GapFill": "miha.problems",
    "MihaError": "miha.errors",
    "Mnist": "miha.problems",
    "Problem": "miha.problems",
    "Run": "miha.run",
    "RunConfig": "miha.config",
    "optimize": "miha.run",
}
__all__ = ["GapFill", "MihaError", "Mnist", "Problem", "Run", "RunConfig", "optimize"]


def __getattr__(name: str) -> Any:
    """Import on first use: PyTorch costs seconds, and `miha --help` needs none of it."""
    if name not in _WHERE:
        raise AttributeError(f"module 'miha' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
