"""Gaps whose truth is known, to judge fills by: those of a data set, or pasted ones; and how a fill does in one."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from miha.errors import DataError
from miha.evolution.seeds import stream
from miha.gapfill.days import MIN_TARGETS, MIN_VISIBLE, paste_gap
from miha.gapfill.excerpt import SIDE, Practice, excerpt, pasted_excerpt, window_at
from miha.gapfill.gaps import Gaps, blob, spread_sizes
from miha.gapfill.history import background_of
from miha.gapfill.intervals import INTERVALS
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.predictors import Static, StaticFiles
from miha.gapfill.process import Posterior
from miha.problems.judgement import OURS
from miha.rasters.opened import OpenScene
from miha.rasters.scene import list_scenes
from miha.rasters.stack import Image, ReadOptions, Stack, read_date, read_scene

TEST_SIZES = (5, 10, 20, 30, 40, 50, 70, 90)  # percent of the scene hidden, where there is no truth/
WINDOWS, TEST_WINDOWS = 4, 2  # of a scene with truth, and for each of TEST_SIZES, of a stack too large for memory
PLACES = 40  # of a scene that are tried for these
SMALLEST, LARGEST = 0.05, 0.95  # of the scene, of gaps that are pasted


@dataclass(frozen=True, kw_only=True)
class Case(Practice):
    """A scene of a day with a gap to judge by; of a stack that is opened and not read it is a window of the scene.

    Attributes:
        gap: its size in percent, as two digits.
        day: of the scene.
        published: method → its map of this gap.
    """

    gap: str
    day: date
    published: dict[str, Path] = field(default_factory=dict)

    def error(self, values: Image) -> float:
        """Mean absolute error inside the gap, where the truth is known."""
        return float(np.abs(values - self.truth)[self.hidden].mean(dtype=np.float64))

    def sureness(self, filled: Posterior) -> dict[str, float]:
        """Share of INTERVALS that hold the truth; and the continuous ranked probability score, of normal errors.

        The score (Gneiting and Raftery 2007, J. Am. Stat. Assoc. 102, equation 21) is in the data's unit: the mean
        absolute error of a fill that is never unsure; lower is better.
        """
        normal = scipy.stats.norm
        std = filled.std[self.hidden].astype(np.float64)
        off = np.abs(filled.mean - self.truth)[self.hidden] / std
        score = std * (off * (2 * normal.cdf(off) - 1) + 2 * normal.pdf(off) - 1 / np.sqrt(np.pi))
        coverage = {f"{share}": float((off <= filled.intervals[share]).mean()) for share in INTERVALS}
        return {**coverage, "crps": float(score.mean())}


def fill_case(filler: NetworkFiller, case: Case) -> Posterior:
    """What a model makes of a case."""
    return filler.predict_beside_base(case.scene, case.background, case.static, case.normalisation)[0]


def held_out_cases(filler: NetworkFiller) -> list[Case]:
    """The gaps to judge by: ``gapped/`` against ``truth/``, or else gaps pasted on the test days of the history.

    Of a stack that is opened and not read, a number of windows that does not grow with it.

    Raises:
        DataError: a gapped scene without truth of its day, or neither truth nor test days.
    """
    return _cases_with_truth(filler, filler.problem.data) if filler.problem.has_truth else _cases_of_test_days(filler)


def _cases_with_truth(filler: NetworkFiller, data: Path) -> list[Case]:
    reading, pattern = filler.reading, filler.reading.date_pattern
    truths = {read_date(path, pattern): path for path in list_scenes(data / "truth", reading)}
    methods = published_methods(data)
    found: list[Case] = []
    for path in list_scenes(data / "gapped", reading):
        when = read_date(path, pattern)
        if when not in truths:
            raise DataError(
                f"{path} has no truth of {when} in {data / 'truth'}. Add it, or remove the scene from gapped/."
            )
        if when.isoformat() in filler.learned:
            raise DataError(
                f"the model learned from {when}, whose truth it is judged by. Remove it from history/, train anew."
            )
        if filler.opened:
            found += _windows(filler, path, truths[when], when)
            continue
        scene = filler.read(path)
        truth = _read_on_grid(filler, truths[when], reading)
        if not (scene.gaps & ~np.isnan(truth)).any():
            raise DataError(f"{path} hides no pixel that {truths[when]} knows. Remove it from gapped/.")
        published = {
            f"{method.name} (published)" if method.name == OURS else method.name: method / path.name
            for method in methods
            if (method / path.name).is_file()
        }
        one = Practice(scene.values, truth, filler.background(scene), filler.static)
        found.append(Case(**vars(one), gap=_size(path, scene.values), day=when, published=published))
    return sorted(found, key=lambda case: case.gap)


def _windows(filler: NetworkFiller, path: Path, truth: Path, when: date) -> list[Case]:
    """At most WINDOWS windows of a scene, around hidden pixels whose truth is known."""
    values: Any = filler.history.values
    scenes = [OpenScene(one, filler.reading, values.scenes[0].shape) for one in (path, truth)]
    seen, known = (filler.look(one).values[0] for one in (path, truth))
    hidden = values.pixels[np.isnan(seen) & ~np.isnan(known)]
    if not len(hidden):
        raise DataError(f"{path} hides no pixel that {truth} knows. Remove it from gapped/.")
    rng, found = stream(filler.seed, "samples", 5), list[Case]()
    for pixel in rng.choice(hidden, PLACES):
        where = window_at(int(pixel), scenes[0].shape, SIDE)
        scene, whole = (one[where] for one in scenes)
        if (~np.isnan(scene)).sum() >= MIN_VISIBLE and (np.isnan(scene) & ~np.isnan(whole)).sum() >= MIN_TARGETS:
            one = excerpt(scenes[0], scene, whole, seen, filler.others(when), when, where, filler.static_files)
            found.append(Case(**vars(one), gap=_size(path, scene), day=when))
        if len(found) == WINDOWS:
            break
    if not found:
        raise DataError(f"{path} hides too much: no window of {SIDE} pixels a side shows and hides pixels of {truth}.")
    return found


def _pasted_window(filler: NetworkFiller, when: date, size: int, number: int) -> Case:
    """A gap of a size, in percent, pasted on a window of a test day."""
    rng = stream(filler.seed, "samples", 2, size, number)
    history = filler.history
    one = pasted_excerpt(history, history, when, filler.static_files, size / 100, rng, SIDE)
    return Case(**vars(one), gap=f"{size:02d}", day=when)


def published_methods(data: Path) -> list[Path]:
    """Folders of maps that other methods made."""
    return sorted(path for path in (data / "published").glob("*") if path.is_dir())


def read_published(filler: NetworkFiller, path: Path) -> Image:
    """A map of another method, which is filled: no quality layer hides what it shows."""
    return _read_on_grid(filler, path, filler.reading.plain)


def _read_on_grid(filler: NetworkFiller, path: Path, reading: ReadOptions) -> Image:
    """A raster that must lie on the grid of the scenes."""
    scene, grid = read_scene(path, reading), filler.history.grid
    if difference := grid.difference(scene.grid):
        raise DataError(f"{path} does not fit the scenes: {difference}. Bring all rasters to one grid (gdalwarp).")
    return scene.values


def _size(path: Path, scene: Image) -> str:
    """The size that the name states (``…_gap05``), else that of the gap, in percent."""
    _, named, stated = path.stem.rpartition("_gap")
    return f"{int(stated):02d}" if named and stated.isdigit() else _percent(scene)


def _percent(scene: Image) -> str:
    return f"{100 * np.isnan(scene).mean():02.0f}"


def _cases_of_test_days(filler: NetworkFiller) -> list[Case]:
    history, test = filler.history, filler.split.test
    if not test:
        raise DataError(
            f"{filler.problem.data} has no truth/, and the run held no test days back. Add truth/ or train anew."
        )
    days = [when for when in map(date.fromisoformat, test) if when in history.dates]
    if not days:
        raise DataError(f"none of the test days ({', '.join(test)}) is in {filler.problem.data}/history any more.")
    found: list[Case] = []
    if filler.opened:
        return [
            _pasted_window(filler, days[(size * TEST_WINDOWS + number) % len(days)], TEST_SIZES[size], number)
            for size in range(len(TEST_SIZES))
            for number in range(TEST_WINDOWS)
        ]
    for size in TEST_SIZES:
        for number, when in enumerate(days):
            rng = stream(filler.seed, "samples", 2, size, number)
            day = history.values[history.dates.index(when)]
            scene = np.where(blob(size / 100, day.shape, rng), np.float32(np.nan), day)
            visible, hidden = ~np.isnan(scene), np.isnan(scene) & ~np.isnan(day)
            if visible.sum() >= MIN_VISIBLE and hidden.sum() >= MIN_TARGETS:
                one = Practice(scene, day, background_of(scene, history, when), filler.static)
                found.append(Case(**vars(one), gap=f"{size:02d}", day=when))
    if not found:
        raise DataError(
            f"the test days of {filler.problem.data} show too little for a gap that hides {MIN_TARGETS} pixels and "
            f"leaves {MIN_VISIBLE}. Add truth/ or days."
        )
    return found


def pasted_case(history: Stack, day: int, number: int, static: Static | StaticFiles | None = None) -> Case:
    """A gap pasted on a day of a history, which is left out of what may fill it; shapes are clouds of other days.

    Args:
        history: at least two days; of those that are opened and not read the case is a window.
        day: index of a clear one.
        number: of the gap; sizes of successive ones spread evenly from SMALLEST to LARGEST.
        static: layers that do not change, opened and not read if the days are; None: there are none.

    Raises:
        DataError: scenes too small for a gap.
    """
    when, fraction, rng = history.dates[day], spread_sizes(number, SMALLEST, LARGEST), stream(0, "samples", 3, number)
    if isinstance(static, StaticFiles):
        one = pasted_excerpt(history, history, when, static, fraction, rng, SIDE)
    else:
        truth = history.values[day]
        scene = paste_gap(truth, Gaps.of(history.without(when).values), fraction, rng)
        one = Practice(scene, truth, background_of(scene, history, when), static or Static.none(truth.shape))
    return Case(**vars(one), gap=_percent(one.scene), day=when)
