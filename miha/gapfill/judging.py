"""How good a fill is: mean absolute error inside held-out gaps, beside what else one could have used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from miha.errors import DataError
from miha.events import Counted, publish
from miha.evolution.seeds import stream
from miha.gapfill.days import MIN_TARGETS, MIN_VISIBLE
from miha.gapfill.filler import Filler
from miha.gapfill.gaps import blob
from miha.gapfill.guess import GuessSettings, fit_climatology, fit_ridge, tree_features, visible_pixels
from miha.gapfill.predictors import Background
from miha.problems.judgement import OURS, Judgement
from miha.rasters.stack import Image, list_rasters, read_date, read_scene

BASELINES = ("mean_plus_offset", "ridge", "trees")
BASELINE_TREES = 300
TEST_SIZES = (5, 10, 20, 30, 40, 50, 70, 90)  # percent of the scene hidden, where there is no truth/


@dataclass(frozen=True)
class Case:
    """One scene of a day with a gap whose truth is known; ``gap`` is its size in percent, as two digits."""

    gap: str
    day: date
    scene: Image
    truth: Image
    background: Background
    published: dict[str, Path]  # method → its map of this gap

    def error(self, values: Image) -> float:
        """Mean absolute error inside the gap, where the truth is known."""
        hidden = np.isnan(self.scene) & ~np.isnan(self.truth)
        return float(np.abs(values - self.truth)[hidden].mean(dtype=np.float64))


def held_out_cases(filler: Filler) -> list[Case]:
    """The gaps to judge by: ``gapped/`` against ``truth/``, or else gaps pasted on the test days of the history.

    Raises:
        DataError: a gapped scene without truth of its day, or neither truth nor test days.
    """
    return _cases_with_truth(filler, filler.problem.data) if filler.problem.has_truth else _cases_of_test_days(filler)


def _cases_with_truth(filler: Filler, data: Path) -> list[Case]:
    pattern = filler.problem.date_pattern
    truths = {read_date(path, pattern): path for path in list_rasters(data / "truth")}
    methods = _published(data)
    found: list[Case] = []
    for path in list_rasters(data / "gapped"):
        when = read_date(path, pattern)
        if when not in truths:
            raise DataError(
                f"{path} has no truth of {when} in {data / 'truth'}. Add it, or remove the scene from gapped/."
            )
        if when.isoformat() in filler.learned:
            raise DataError(
                f"the model learned from {when}, whose truth it is judged by. Remove it from history/, train anew."
            )
        scene = filler.read(path)
        truth = _read_on_grid(filler, truths[when])
        if not (scene.gaps & ~np.isnan(truth)).any():
            raise DataError(f"{path} hides no pixel that {truths[when]} knows. Remove it from gapped/.")
        published = {
            f"{method.name} (published)" if method.name == OURS else method.name: method / path.name
            for method in methods
            if (method / path.name).is_file()
        }
        found.append(Case(_size(path, scene.values), when, scene.values, truth, filler.background(path), published))
    return sorted(found, key=lambda case: case.gap)


def _published(data: Path) -> list[Path]:
    """Folders of maps that other methods made."""
    return sorted(path for path in (data / "published").glob("*") if path.is_dir())


def _read_on_grid(filler: Filler, path: Path) -> Image:
    """A raster that must lie on the grid of the scenes."""
    scene, grid = read_scene(path, filler.problem.reading), filler.history.grid
    if difference := grid.difference(scene.grid):
        raise DataError(f"{path} does not fit the scenes: {difference}. Bring all rasters to one grid (gdalwarp).")
    return scene.values


def _size(path: Path, scene: Image) -> str:
    """The size that the name states (``…_gap05``), else that of the gap, in percent."""
    _, named, stated = path.stem.rpartition("_gap")
    return f"{int(stated):02d}" if named and stated.isdigit() else f"{100 * np.isnan(scene).mean():02.0f}"


def _cases_of_test_days(filler: Filler) -> list[Case]:
    history, test = filler.history, filler.split.test
    if not test:
        raise DataError(
            f"{filler.problem.data} has no truth/, and the run held no test days back. Add truth/ or train anew."
        )
    days = [when for when in map(date.fromisoformat, test) if when in history.dates]
    if not days:
        raise DataError(f"none of the test days ({', '.join(test)}) is in {filler.problem.data}/history any more.")
    found: list[Case] = []
    backgrounds = {when: Background.of(history.without(when).values) for when in days}
    for size in TEST_SIZES:
        for number, when in enumerate(days):
            rng = stream(filler.seed, "samples", 2, size, number)
            day = history.values[history.dates.index(when)]
            scene = np.where(blob(size / 100, day.shape, rng), np.float32(np.nan), day)
            visible, hidden = ~np.isnan(scene), np.isnan(scene) & ~np.isnan(day)
            if visible.sum() >= MIN_VISIBLE and hidden.sum() >= MIN_TARGETS:
                found.append(Case(f"{size:02d}", when, scene, day, backgrounds[when], {}))
    if not found:
        raise DataError(
            f"the test days of {filler.problem.data} show too little for a gap that hides {MIN_TARGETS} pixels and "
            f"leaves {MIN_VISIBLE}. Add truth/ or days."
        )
    return found


def baselines(filler: Filler, case: Case) -> dict[str, Image]:
    """What a user would otherwise take, on the same predictors: pixel mean plus offset, ridge, and trees."""
    from sklearn.ensemble import ExtraTreesRegressor  # costs a second, and a run's report needs none

    static, scene = filler.problem.static(), case.scene
    fitted = visible_pixels(scene, GuessSettings().fit_pixels, stream(0, "fill"))
    features = tree_features(case.background.filled, case.background.level, static)
    with threadpool_limits(1):
        forest = ExtraTreesRegressor(BASELINE_TREES, n_jobs=-1, random_state=0)
        forest.fit(features[fitted], scene.ravel()[fitted])
        forest.n_jobs = 1  # sums in another order have other last bits
        trees = forest.predict(features).reshape(scene.shape).astype(np.float32)
    climatology, ridge = fit_climatology(scene, case.background), fit_ridge(scene, case.background, static, fitted)
    return dict(zip(BASELINES, (climatology, ridge, trees), strict=True))


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
    taken = {*BASELINES, *(method.name for method in _published(data))}
    columns = {name: f"{name} (run)" if name in taken and name != OURS else name for name in archives}
    fillers = {columns[name]: Filler(archive, data) for name, archive in archives.items()}
    errors = held_out_errors(fillers)
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
        metrics={"mae": figures.pop(OURS), "methods": figures},
        table=pd.concat([errors, errors.mean().to_frame("mean").T]).rename_axis("gap"),
        title=f"mean absolute error inside the gap, {ours.unit}; {of_what}; gap in percent of the scene",
        lower_is_better=True,
        errors=errors[[OURS]].rename(columns={OURS: "mae"}).rename_axis("gap"),
    )


def held_out_errors(fillers: Mapping[str, Filler]) -> pd.DataFrame:
    """Mean absolute error, in the data's unit: a row for each gap size, a column for each method and model.

    NaN where a method lacks one of the scenes of a size.

    Raises:
        DataError: nothing to judge by, or a model that learned from a day on which ``miha`` is judged.
    """
    ours = fillers[OURS]
    rows: list[dict[str, Any]] = []
    cases = held_out_cases(ours)
    for number, case in enumerate(cases, start=1):
        for name, rival in fillers.items():
            if case.day.isoformat() in rival.learned:
                raise DataError(
                    f"{name} learned from {case.day}, on which this run is judged. Use runs that held the same days "
                    "back: of one data set and seed."
                )
        publish(Counted("gaps", number, len(cases), f"{case.gap} %"))
        maps = {name: _read_on_grid(ours, path) for name, path in case.published.items()}
        maps |= baselines(ours, case)
        maps |= {name: filler.predict(case.scene, case.background) for name, filler in fillers.items()}
        rows.append({"gap": case.gap, **{name: case.error(values) for name, values in maps.items()}})
    last = [name for name in fillers if name != OURS] + [OURS]
    errors = pd.DataFrame(rows).groupby("gap").mean(skipna=False)
    return errors[[name for name in errors.columns if name not in last] + last]


class NoSharedDayError(DataError):
    """Models that no held-out day can compare: each day was learned from by one of them."""


def mean_errors(fillers: dict[str, Filler]) -> dict[str, float]:
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
            **{name: case.error(one.predict(case.scene, case.background)) for name, one in fillers.items()},
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
