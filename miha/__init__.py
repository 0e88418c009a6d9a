"""MIHA tunes the hyperparameters of a PyTorch network while it trains, and fills cloud gaps in rasters.

>>> import miha
>>> config = miha.RunConfig(problem=miha.GapFill(data="data/scenes/madrid"), run_dir="runs/madrid")
>>> run = miha.optimize(config)
>>> run.best.valid_loss, run.history.tail()
>>> miha.fill("today.tif", out="filled", data="data/scenes/madrid", model=run.model)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miha.config import RunConfig
    from miha.digits.problem import Mnist
    from miha.errors import MihaError
    from miha.gapfill.filling import fill, fill_array
    from miha.gapfill.problem import GapFill
    from miha.problems.problem import Problem
    from miha.problems.samples import Batch, Data, Samples
    from miha.rasters.cube import open_stack
    from miha.run import Run, optimize
    from miha.tuning import tune

_MODULES = {
    "Batch": "miha.problems.samples",
    "Data": "miha.problems.samples",
    "GapFill": "miha.gapfill.problem",
    "MihaError": "miha.errors",
    "Mnist": "miha.digits.problem",
    "Problem": "miha.problems.problem",
    "Run": "miha.run",
    "RunConfig": "miha.config",
    "Samples": "miha.problems.samples",
    "fill": "miha.gapfill.filling",
    "fill_array": "miha.gapfill.filling",
    "open_stack": "miha.rasters.cube",
    "optimize": "miha.run",
    "tune": "miha.tuning",
}
__all__ = [
    "Batch",
    "Data",
    "GapFill",
    "MihaError",
    "Mnist",
    "Problem",
    "Run",
    "RunConfig",
    "Samples",
    "fill",
    "fill_array",
    "open_stack",
    "optimize",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import on first use: PyTorch costs seconds, and `miha --help` needs none of it."""
    if name not in _MODULES:
        raise AttributeError(f"module 'miha' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
