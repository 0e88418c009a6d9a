"""What the report of a run shows of gap filling: errors on held-out gaps beside other methods, maps and curves."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from miha.events import Counted, publish
from miha.files import stamp_files
from miha.gapfill.base import fill_base
from miha.gapfill.cases import Case, held_out_cases, read_published
from miha.gapfill.comparison import DRAWS, TILE, Comparison, FilledCase
from miha.gapfill.curves import plot_by_distance, plot_by_size, plot_coverage, plot_histogram, styles
from miha.gapfill.excerpt import SIDE
from miha.gapfill.judging import baselines, linear_baselines
from miha.gapfill.maps import chosen_cases, map_row
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.process import Posterior
from miha.problems.presentation import Estimate, Presentation
from miha.problems.problem import ParallelMap
from miha.rasters.stack import Image
from miha.wording import plural

MORE = " The command miha report RUN --full tests on every gap, and compares with 300 trees."
QUICK_GAPS = 4  # that the report of every run judges by: four seconds each for 10,000 pixels
Job = tuple[Path, Path, str, bool, int]  # archive, data set, stamp of the archive, thorough or not, number of the gap
NETWORK, BASES, BASE = "trained network", "mean of several bases", "base, untrained"
NAMES = {"mean_plus_offset": "pixel mean plus offset", "ridge": "ridge regression", "trees": "300 trees", "base": BASE}


def present_fills(archive: Path, data: Path, parallel_map: ParallelMap, thorough: bool) -> Presentation:
    """Judge a model on held-out gaps, and draw it.

    Args:
        archive: the model.
        data: the data set.
        parallel_map: fills gaps side by side.
        thorough: True: every gap, and 300 trees beside; False: some gaps, and what costs little.

    Raises:
        ArchiveError: the model cannot be used with ``data``.
        DataError: the data set has no held-out gaps.
    """
    source = (archive, data, stamp_files([archive]), thorough)
    filler, chosen = _opened(*source)
    fills = parallel_map(_fill, [(*source, number) for number in range(len(chosen))])
    filled = [
        FilledCase(case, maps, found.std, found.intervals) for case, (maps, found) in zip(chosen, fills, strict=True)
    ]
    ours, unit = _ours(filler), filler.unit or "units"
    comparison = Comparison(filled, ours)
    looks = styles(comparison, BASE)
    shown = chosen_cases(filled, 3)
    rows = [map_row(one.case, one.maps[ours], one.std, unit) for one in (shown[1:2] or shown[:1])]
    rows += [map_row(one.case, one.maps[ours], one.std, unit) for one in (*shown[:1], *shown[2:]) if len(shown) > 1]
    means = comparison.means()
    estimates = [Estimate(name, mean.value, mean.low, mean.high, name == ours) for name, mean in means.items()]
    return Presentation(
        title="Maps",
        subject="Gap filling",
        what=_what(filler, chosen) + ("" if thorough else MORE),
        headline=f"{means[ours].value:#.3g} {unit}",
        meaning=f"mean absolute error inside hidden gaps (95 % interval {means[ours].low:#.3g} to "
        f"{means[ours].high:#.3g})",
        sentences=_sentences(comparison, unit, filler.corrects),
        estimates=sorted(estimates, key=lambda one: one.value),
        measure=f"mean absolute error, {unit}; lower is better",
        intervals=f"95 % intervals: bootstrap of {DRAWS} draws over squares of {TILE} by {TILE} pixels. They say "
        "nothing of days unlike these.",
        maps=rows,
        plots=[
            plot_by_size(comparison, looks, unit),
            plot_by_distance(comparison, looks, unit),
            plot_histogram(comparison, looks, BASE, unit),
            plot_coverage(comparison),
        ],
    )


def _cases(filler: NetworkFiller, thorough: bool) -> list[Case]:
    cases = sorted(held_out_cases(filler), key=lambda case: int(np.isnan(case.scene).sum()))
    return cases if thorough else chosen_cases(cases, QUICK_GAPS)


@lru_cache(maxsize=1)
def _opened(archive: Path, data: Path, stamp: str, thorough: bool) -> tuple[NetworkFiller, list[Case]]:
    """What fills and the gaps; a process reads them once."""
    filler = NetworkFiller(archive, data)
    return filler, _cases(filler, thorough)


def _fill(job: Job) -> tuple[dict[str, Image], Posterior]:
    """Maps of one gap by all methods, and what the model says."""
    archive, data, stamp, thorough, number = job
    filler, cases = _opened(archive, data, stamp, thorough)
    case = cases[number]
    network, base = filler.predict_beside_base(case.scene, case.background, case.static, case.normalisation)
    if filler.problem.network == "autoencoder":  # which starts from no base
        base = fill_base(case.scene, case.background, case.static, filler.seed).mean
    others = baselines(case, base) if thorough else {**linear_baselines(case), "base": base}
    maps: dict[str, Image] = {f"{name} (published)": read_published(filler, path) for name, path in _published(case)}
    maps |= {NAMES[name]: values for name, values in others.items()}
    publish(Counted("gaps of the report", number + 1, len(cases), f"{case.gap} %"))
    return {**maps, _ours(filler): network.mean}, network


def _ours(filler: NetworkFiller) -> str:
    """What the model is: where the base is the best one, its network does nothing."""
    return NETWORK if filler.corrects else BASES


def _published(case: Case) -> list[tuple[str, Path]]:
    return [(name.removesuffix(" (published)"), path) for name, path in case.published.items()]


def _what(filler: NetworkFiller, cases: Sequence[Case]) -> str:
    days, height, width = filler.history.values.shape
    first, last = min(filler.history.dates), max(filler.history.dates)
    judged = sorted({case.day for case in cases})
    on = judged[0].isoformat() if len(judged) == 1 else f"{len(judged)} days"
    windows = f", in windows of at most {SIDE} × {SIDE} pixels" if filler.opened else ""
    tested = "It was" if filler.corrects else "None of its states bettered the base, which was"
    return (
        f"Clouds hide parts of these scenes. A network learned to fill such gaps from {len(filler.split.train)} of "
        f"{days} days ({first} to {last}, {height} × {width} pixels). {tested} tested on "
        f"{plural(len(cases), 'gap')} of {on}, which it never saw{windows}."
    )


def _sentences(comparison: Comparison, unit: str, corrects: bool) -> list[str]:
    means = comparison.means()
    found = [f"The base alone, which needs no training, has an error of {means[BASE].value:#.3g} {unit}."]
    found.append(comparison.gain_sentence(comparison.ours, BASE, corrects))
    others = {name: mean for name, mean in means.items() if name not in (comparison.ours, BASE)}
    if others:
        best = min(others, key=lambda name: others[name].value)
        found.append(f"The best other method here, {best}, has an error of {others[best].value:#.3g} {unit}.")
    held = comparison.coverage()
    found.append(
        "Of the true values "
        + ", ".join(f"{held[share]:.0f} % lie in the {share} % interval" for share in (50, 80, 95))
        + " that goes with each filled pixel."
    )
    return found
