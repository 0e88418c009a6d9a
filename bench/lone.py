"""One scene that no other day tells about, in its cloud gap, beside what methods published there.

The scene is the one of a competition of methods for large spatial data (Heaton et al. 2019, J. Agric. Biol. Environ.
Stat. 24, 398-425): land surface temperature of 4 August 2016 by MODIS, 300 x 500 pixels, under a real cloud mask.
"""

import time
from datetime import date
from pathlib import Path

import numpy as np

from bench.results import Result, table
from miha.evolution.seeds import stream
from miha.gapfill.base import fill_base
from miha.gapfill.cases import Case
from miha.gapfill.kernel import Features
from miha.gapfill.predictors import Background, Static
from miha.gapfill.process import Posterior, fill_by_process

DAY = date(2016, 8, 4)
PUBLISHED = {  # root mean squared errors on the same pixels
    "SPDE": 1.53,
    "LatticeKrig": 1.68,
    "periodic embedding": 1.79,
    "CRAN gapfill": 1.86,
    "local approximate GP": 2.08,
}


def fill_alone(file: Path) -> Result:
    """How the process alone and the base fill the scene; the truth is looked at once each is made.

    Args:
        file: arrays ``observed`` and ``truth`` (height, width), NaN where not known.
    """
    with np.load(file) as arrays:
        scene, truth = (arrays[name].astype(np.float32) for name in ("observed", "truth"))
    background, static = Background.none(scene), Static.none(scene.shape)
    case = Case(f"{100 * np.isnan(scene).mean():02.0f}", DAY, scene, truth, background, {})
    ways = {
        "process": lambda: fill_by_process(scene, background, Features.of(background, static), stream(0, "fill")),
        "base": lambda: fill_base(scene, background, static, 0),
    }
    told = {}
    for name, fill in ways.items():
        started = time.perf_counter()
        filled = fill()
        told[name] = {**_errors(case, filled), "seconds": time.perf_counter() - started}
    return told


def _errors(case: Case, filled: Posterior) -> dict[str, float]:
    squared = float(((filled.mean - case.truth)[case.hidden].astype(np.float64) ** 2).mean())
    sureness = case.sureness(filled)
    return {"rmse": squared**0.5, "mae": case.error(filled.mean), "crps": sureness["crps"], "held": sureness["95"]}


def lone_table(result: Result) -> str:
    """A row for each way that was measured, and for each published one."""
    rows = [
        [
            f"**{name}**",
            *(f"{one[key]:.2f}" for key in ("rmse", "mae", "crps")),
            f"{100 * one['held']:.0f} %",
            f"{one['seconds']:.0f}",
        ]
        for name in ("process", "base")
        for one in (result[name],)
    ]
    rows += [[f"{name} (published)", f"{error:.2f}", "", "", "", ""] for name, error in PUBLISHED.items()]
    return table(["one scene alone", "RMSE", "MAE", "CRPS", "95 % intervals hold", "seconds"], rows)
