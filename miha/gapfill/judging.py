"""How good a fill is: mean absolute error inside held-out gaps, beside what else one could have used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from miha.errors import DataError
from miha.events import Counted, publish
from miha.evolution.seeds import stream
from miha.gapfill.base import fill_base
from miha.gapfill.cases import Case, fill_case, held_out_cases, published_methods, read_published
from miha.gapfill.comparison import Comparison, FilledCase
from miha.gapfill.guess import fit_climatology, fit_ridge, visible_pixels
from miha.gapfill.intervals import INTERVALS
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.regressions import GuessSettings, tree_features
from miha.problems.judgement import OURS, Judgement
from miha.rasters.stack import Image
from miha.threads import library_threads

BASELINES = ("mean_plus_offset", "ridge", "trees", "base")
BASELINE_TREES = 300


def linear_baselines(case: Case) -> dict[str, Image]:
    """What costs less than a second: pixel mean plus offset, and ridge."""
    fitted = visible_pixels(case.scene, GuessSettings().fit_pixels, stream(0, "fill"))
    ridge = fit_ridge(case.scene, case.background, case.static, fitted)
    return {"mean_plus_offset": fit_climatology(case.scene, case.background), "ridge": ridge}


def baselines(case: Case, base: Image) -> dict[str, Image]:
    """What a user would otherwise take, on the same predictors: pixel mean plus offset, ridge, trees, and the base."""
    from sklearn.ensemble import ExtraTreesRegressor  # costs a second, and a run's report needs none

    scene = case.scene
    fitted = visible_pixels(scene, GuessSettings().fit_pixels, stream(0, "fill"))
    features = tree_features(case.background.filled, case.background.level, case.static)
    with library_threads(1):
        forest = ExtraTreesRegressor(BASELINE_TREES, n_jobs=-1, random_state=0)
        forest.fit(features[fitted], scene.ravel()[fitted])
        forest.n_jobs = 1  # sums in another order have other last bits
        trees = forest.predict(features).reshape(scene.shape).astype(np.float32)
    return {**linear_baselines(case), "trees": trees, "base": base}


def judge(data: Path, archives: Mapping[str, Path]) -> Judgement:
    """Mean absolute error of models inside held-out gaps, beside baselines and published methods.

    A method that lacks a gap has no fair mean, and is left out.

    Args:
        data: the data set with the held-out gaps.
        archives: column → archive; ``miha`` is the one that is judged.

    Raises:
        ArchiveError: a model that cannot be used with ``data``.
        DataError: nothing to judge by, a model that gives no number somewhere, or one that learned from a day on which
            ``miha`` is judged.
    """
    taken = {*BASELINES, *(method.name for method in published_methods(data))}
    columns = {name: f"{name} (run)" if name in taken and name != OURS else name for name in archives}
    fillers = {columns[name]: NetworkFiller(archive, data) for name, archive in archives.items()}
    errors, sureness, compared = held_out_errors(fillers)
    for name in fillers:
        if not np.isfinite(errors[name]).all():
            raise DataError(
                f"{name} gives no number inside the gap of {errors.index[~np.isfinite(errors[name])][0]} %: the model "
                "is of no use. Train anew."
            )
    errors = errors.dropna(axis="columns")
    figures = {
        method: {"mean": float(column.mean()), "gaps": {str(gap): float(error) for gap, error in column.items()}}
        for method, column in errors.items()
    }
    ours = fillers[OURS]
    of_what = "simulated scenes" if ours.manifest.extras.get("simulated") else str(data)
    return Judgement(
        metrics={
            "mae": figures.pop(OURS),
            "coverage": {f"{share}": sureness[f"{share}"] for share in INTERVALS},
            "crps": sureness["crps"],
            "methods": figures,
        },
        table=pd.concat([errors, errors.mean().to_frame("mean").T]).rename_axis("gap"),
        title=f"mean absolute error inside the gap, {ours.unit}; {of_what}; gap in percent of the scene; intervals of "
        f"{', '.join(f'{share} %' for share in INTERVALS)} hold "
        f"{', '.join(f'{100 * sureness[str(share)]:.0f} %' for share in INTERVALS)} of the truth",
        lower_is_better=True,
        errors=errors[[OURS]].rename(columns={OURS: "mae"}).rename_axis("gap"),
        verdict=compared.gain_sentence(OURS, "base", ours.corrects),
    )


def held_out_errors(
    fillers: Mapping[str, NetworkFiller],
) -> tuple[pd.DataFrame, "pd.Series[float]", Comparison]:
    """Mean absolute error, in the data's unit: a row for each gap size, a column for each method and model.

    Beside it, means over the gaps of what :meth:`Case.sureness` says of ``miha``, and ``miha`` compared with the base.

    NaN where a method lacks one of the scenes of a size.

    Raises:
        DataError: nothing to judge by, or a model that learned from a day on which ``miha`` is judged.
    """
    ours = fillers[OURS]
    rows: list[dict[str, Any]] = []
    sureness: list[dict[str, float]] = []
    compared: list[FilledCase] = []
    cases = held_out_cases(ours)
    for number, case in enumerate(cases, start=1):
        for name, rival in fillers.items():
            if case.day.isoformat() in rival.learned:
                raise DataError(
                    f"{name} learned from {case.day}, on which this run is judged. Use runs that held the same days "
                    "back: of one data set and seed."
                )
        publish(Counted("gaps", number, len(cases), f"{case.gap} %"))
        maps = {name: read_published(ours, path) for name, path in case.published.items()}
        maps |= baselines(case, fill_base(case.scene, case.background, case.static, ours.seed).mean)
        filled = {name: fill_case(filler, case) for name, filler in fillers.items()}
        maps |= {name: one.mean for name, one in filled.items()}
        found = filled[OURS]
        sureness.append(case.sureness(found))
        compared.append(FilledCase(case, {name: maps[name] for name in (OURS, "base")}, found.std, found.intervals))
        rows.append({"gap": case.gap, **{name: case.error(values) for name, values in maps.items()}})
    last = [name for name in fillers if name != OURS] + [OURS]
    errors = pd.DataFrame(rows).groupby("gap").mean(skipna=False)
    in_order = errors[[name for name in errors.columns if name not in last] + last]
    return in_order, pd.DataFrame(sureness).mean(), Comparison(compared, OURS)


class NoSharedDayError(DataError):
    """Models that no held-out day can compare: each day was learned from by one of them."""


def mean_errors(fillers: dict[str, NetworkFiller]) -> dict[str, float]:
    """Mean absolute error of each model, in the data's unit, on the held-out gaps of the first, sizes weighing alike.

    Days that any of the others learned from do not count. A model that gives no number somewhere has no error: NaN.

    Raises:
        NoSharedDayError: no gap is left to judge by.
        DataError: the held-out gaps cannot be used.
    """
    first, *others = fillers.values()
    learned = {day for other in others for day in other.learned}
    rows = [
        {
            "gap": case.gap,
            **{name: case.error(fill_case(one, case).mean) for name, one in fillers.items()},
        }
        for case in held_out_cases(first)
        if case.day.isoformat() not in learned
    ]
    if not rows:
        raise NoSharedDayError(
            f"the models share no held-out day of {first.problem.data}: all were learned from. Add truth/ or days."
        )
    means = pd.DataFrame(rows).groupby("gap").mean(skipna=False).mean(skipna=False)
    return {name: float(means[name]) for name in fillers}
