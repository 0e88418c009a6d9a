"""One scene that no other day tells about, in its cloud gap, beside what methods published there.

The scene is the one of a competition of methods for large spatial data (Heaton et al. 2019, J. Agric. Biol. Environ.
Stat. 24, 398-425): land surface temperature of 4 August 2016 by MODIS, 300 x 500 pixels, under a real cloud mask.
"""

import time
from datetime import date
from pathlib import Path

import numpy as np

from bench.results import Result, spread, table
from miha.gapfill.base import fill_base
from miha.gapfill.cases import Case
from miha.gapfill.predictors import Background, Static
from miha.gapfill.process import Posterior

DAY = date(2016, 8, 4)
SEEDS = 3
PUBLISHED = {  # root mean squared errors on the same pixels
    "SPDE": 1.53,
    "LatticeKrig": 1.68,
    "periodic embedding": 1.79,
    "CRAN gapfill": 1.86,
    "local approximate GP": 2.08,
}


def fill_alone(file: Path) -> Result:
    """How the base fills the scene: each figure as a list, of SEEDS draws of its pixels.

    Args:
        file: arrays ``observed`` and ``truth`` (height, width), NaN where not known.
    """
    with np.load(file) as arrays:
        scene, truth = (arrays[name].astype(np.float32) for name in ("observed", "truth"))
    background, static = Background.none(scene), Static.none(scene.shape)
    case = Case(scene, truth, background, static, gap=f"{100 * np.isnan(scene).mean():02.0f}", day=DAY)
    results = []
    for seed in range(SEEDS):
        started = time.perf_counter()
        filled = fill_base(scene, background, static, seed)
        results.append({**_errors(case, filled), "seconds": time.perf_counter() - started})
    return {key: [one[key] for one in results] for key in results[0]}


def _errors(case: Case, filled: Posterior) -> dict[str, float]:
    squared = float(((filled.mean - case.truth)[case.hidden].astype(np.float64) ** 2).mean())
    sureness = case.sureness(filled)
    return {"rmse": squared**0.5, "mae": case.error(filled.mean), "crps": sureness["crps"], "held": sureness["95"]}


def lone_table(result: Result) -> str:
    """A row for each way that was measured, and for each published one."""
    held = " ".join(f"{100 * share:.0f}" for share in result["held"])
    figures = [spread(result[key], ".2f") for key in ("rmse", "mae", "crps")]
    rows = [[f"**base, {SEEDS} seeds**", *figures, f"{held} %", f"{max(result['seconds']):.0f}"]]
    rows += [[f"{name} (published)", f"{error:.2f}", "", "", "", ""] for name, error in PUBLISHED.items()]
    return table(["one scene alone", "RMSE", "MAE", "CRPS", "95 % intervals hold", "seconds"], rows)
