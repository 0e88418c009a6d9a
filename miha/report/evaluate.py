"""How good a fill is: mean absolute error inside held-out gaps, beside what else one could have used."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from miha.errors import ArchiveError, DataError
from miha.evolution.seeds import stream
from miha.problems import Mnist, archived_problem
from miha.problems.base import load_weights, set_activations
from miha.problems.filler import Filler
from miha.problems.gapfill import MIN_TARGETS, MIN_VISIBLE
from miha.progress import publish
from miha.rasters.gaps import blob
from miha.rasters.guess import GuessSettings, fit_climatology, fit_ridge, tree_features, visible_pixels
from miha.rasters.predictors import Background
from miha.rasters.stack import Image, list_rasters, read_date, read_scene
from miha.records.archive import archive_path, read_archive, read_manifest
from miha.threads import fixed_threads

BASELINE_TREES = 300
TEST_SIZES = (5, 10, 20, 30, 40, 50, 70, 90)  # percent of the scene hidden, where there is no truth/
MIHA = "miha"


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


def held_out_cases(filler: Filler) -> Iterator[Case]:
    """The gaps to judge by: ``gapped/`` against ``truth/``, or else gaps pasted on the test days of the history.

    Raises:
        DataError: a gapped scene without truth of its day, or neither truth nor test days.
    """
    data = filler.problem.data
    if filler.problem.has_truth:
        yield from _cases_with_truth(filler, data)
    else:
        yield from _cases_of_test_days(filler)


def _cases_with_truth(filler: Filler, data: Path) -> Iterator[Case]:
    pattern = filler.problem.date_pattern
    truths = {read_date(path, pattern): path for path in list_rasters(data / "truth")}
    methods = sorted(path for path in (data / "published").glob("*") if path.is_dir())
    trained = {*filler.split.train, *filler.split.valid}
    found: list[Case] = []
    for path in list_rasters(data / "gapped"):
        when = read_date(path, pattern)
        if when not in truths:
            raise DataError(
                f"{path} has no truth of {when} in {data / 'truth'}. Add it, or remove the scene from gapped/."
            )
        if when.isoformat() in trained:
            raise DataError(
                f"the model learned from {when}, whose truth it is judged by. Remove it from history/, train anew."
            )
        scene = filler.read(path)
        truth = _read_on_grid(filler, truths[when])
        if not (scene.gaps & ~np.isnan(truth)).any():
            raise DataError(f"{path} hides no pixel that {truths[when]} knows. Remove it from gapped/.")
        published = {method.name: method / path.name for method in methods if (method / path.name).is_file()}
        found.append(Case(_size(path, scene.values), when, scene.values, truth, filler.background(path), published))
    yield from sorted(found, key=lambda case: case.gap)


def _read_on_grid(filler: Filler, path: Path) -> Image:
    """A raster that must lie on the grid of the scenes."""
    scene, grid = read_scene(path, filler.problem.reading), filler.sources.history.grid
    if difference := grid.difference(scene.grid):
        raise DataError(f"{path} does not fit the scenes: {difference}. Bring all rasters to one grid (gdalwarp).")
    return scene.values


def _size(path: Path, scene: Image) -> str:
    """The size that the name states (``…_gap05``), else that of the gap, in percent."""
    _, named, stated = path.stem.rpartition("_gap")
    return f"{int(stated):02d}" if named and stated.isdigit() else f"{100 * np.isnan(scene).mean():02.0f}"


def _cases_of_test_days(filler: Filler) -> Iterator[Case]:
    history, test = filler.sources.history, filler.split.test
    if not test:
        raise DataError(
            f"{filler.problem.data} has no truth/, and the run held no test days back. Add truth/ or train anew."
        )
    days = [when for when in map(date.fromisoformat, test) if when in history.dates]
    if not days:
        raise DataError(f"none of the test days ({', '.join(test)}) is in {filler.problem.data}/history any more.")
    for size in TEST_SIZES:
        for number, when in enumerate(days):
            rng = stream(filler.seed, "samples", 2, size, number)
            day = history.values[history.dates.index(when)]
            scene = np.where(blob(size / 100, day.shape, rng), np.float32(np.nan), day)
            visible, hidden = ~np.isnan(scene), np.isnan(scene) & ~np.isnan(day)
            if visible.sum() >= MIN_VISIBLE and hidden.sum() >= MIN_TARGETS:
                yield Case(f"{size:02d}", when, scene, day, Background.of(history.without(when).values), {})


def baselines(filler: Filler, case: Case) -> dict[str, Image]:
    """What a user would otherwise take, on the same predictors: pixel mean plus offset, ridge, and trees."""
    from sklearn.ensemble import ExtraTreesRegressor  # costs a second, and a run's report needs none

    static, scene = filler.sources.static, case.scene
    fitted = visible_pixels(scene, GuessSettings().fit_pixels, stream(0, "fill"))
    features = tree_features(case.background.filled, case.background.level, static)
    with threadpool_limits(1):
        forest = ExtraTreesRegressor(BASELINE_TREES, n_jobs=-1, random_state=0)
        forest.fit(features[fitted], scene.ravel()[fitted])
        forest.n_jobs = 1  # sums in another order have other last bits
        trees = forest.predict(features).reshape(scene.shape).astype(np.float32)
    return {
        "mean_plus_offset": fit_climatology(scene, case.background),
        "ridge": fit_ridge(scene, case.background, static, fitted),
        "trees": trees,
    }


def evaluate_filling(model: Path, data: Path, against: dict[str, Path]) -> pd.DataFrame:
    """Mean absolute error, in the data's unit: a row for each gap size, a column for each method.

    Args:
        model: the archive to judge, column ``miha``.
        data: the data set with the held-out gaps.
        against: further archives by the name of their column.

    Raises:
        DataError: nothing to judge by, or one of ``against`` learned from a day on which ``model`` is judged.
    """
    filler = Filler(model, data)
    rivals = {name: Filler(archive, data) for name, archive in against.items()}
    rows: list[dict[str, Any]] = []
    for case in held_out_cases(filler):
        for name, rival in rivals.items():
            if case.day.isoformat() in {*rival.split.train, *rival.split.valid}:
                raise DataError(
                    f"{name} learned from {case.day}, on which this run is judged. Use runs that held the same days "
                    "back: of one data set and seed."
                )
        publish("evaluating", gap=case.gap)
        maps = {name: _read_on_grid(filler, path) for name, path in case.published.items()}
        maps |= baselines(filler, case)
        maps |= {name: rival.predict(case.scene, case.background) for name, rival in rivals.items()}
        maps[MIHA] = filler.predict(case.scene, case.background)
        rows.append({"gap": case.gap, **{name: case.error(values) for name, values in maps.items()}})
    return pd.DataFrame(rows).groupby("gap").mean()


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
    learned = {day for other in others for day in (*other.split.train, *other.split.valid)}
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


def evaluate_digits(model: Path, data: Path) -> dict[str, float]:
    """Accuracy (0 to 1) on the 10,000 test digits, and on the first 500 of them as in the article."""
    manifest, weights, _ = read_archive(model)
    problem = archived_problem(manifest.problem, data)
    if not isinstance(problem, Mnist):
        raise ArchiveError(f"{model} is of problem {problem.name!r}, not of digits. Compare runs of one problem.")
    network = problem.build_network()
    set_activations(network, manifest.record.hyperparameters.activations)
    load_weights(network, weights)
    network.eval()
    inputs, target, _ = problem.test().tensors
    with torch.inference_mode(), fixed_threads(1):
        right = (network(inputs).argmax(dim=1) == target).double()
    return {"accuracy": float(right.mean()), "accuracy_first_500": float(right[:500].mean())}


def _column(run_dir: Path) -> str:
    """What the column of another run is called: its folder's name, unless that means something else here."""
    name = run_dir.absolute().name
    return f"{name} (run)" if name in (MIHA, "mean_plus_offset", "ridge", "trees") else name


def evaluate(run_dir: Path, data: Path, against: Path | None = None) -> tuple[dict[str, Any], pd.DataFrame, str]:
    """Judge the best model of a run; returns the metrics as JSON, and as a table to print with its title.

    Raises:
        ArchiveError: a model that cannot be used with ``data``.
        DataError: nothing to judge by.
    """
    model = archive_path(run_dir, "best")
    rivals = {_column(against): archive_path(against, "best")} if against else {}
    manifest = read_manifest(model)
    said = {
        "best": manifest.origin,
        "epochs": len(pd.read_csv(run_dir / "history.csv")),
        "hyperparameters": manifest.record.hyperparameters.model_dump(mode="json"),
    }
    if isinstance(archived_problem(manifest.problem), Mnist):
        metrics: dict[str, Any] = evaluate_digits(model, data)
        others = {name: evaluate_digits(archive, data) for name, archive in rivals.items()}
        frame = pd.DataFrame({**others, MIHA: metrics}).rename_axis("test digits")
        return {**metrics, "methods": others, **said}, frame, "accuracy"
    errors = evaluate_filling(model, data, rivals).dropna(axis="columns")  # a method that lacks a gap has no fair mean
    told = {
        method: {"mean": float(column.mean()), "gaps": {str(gap): float(error) for gap, error in column.items()}}
        for method, column in errors.items()
    }
    frame = pd.concat([errors, errors.mean().to_frame("mean").T]).rename_axis("gap")
    of_what = "simulated scenes" if manifest.extras.get("simulated") else str(data)
    title = f"mean absolute error inside the gap, {manifest.extras['unit']}; {of_what}; gap in percent of the scene"
    return {"mae": told.pop(MIHA), "methods": told, **said}, frame, title
