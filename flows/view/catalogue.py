"""What there is to see in a folder: days, each with its layers."""

from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from miha.errors import DataError
from miha.rasters.options import ReadOptions
from miha.rasters.scene import list_rasters, list_scenes, quality_files
from miha.rasters.stack import read_date
from miha.rasters.writing import sidecars_of
from miha.records.provenance import FILE, read_provenance

LAYERS = ("observed", "filled", "truth", "std", "source")  # in the order of the page


@dataclass(frozen=True)
class Day:
    """One scene: what it is called, and the file of each layer that it has."""

    label: str
    layers: dict[str, Path]


@dataclass(frozen=True)
class Catalogue:
    """All scenes of a folder, by date.

    Attributes:
        title: for the page.
        days: in their order.
        report: of a run; None of other folders.
    """

    title: str
    days: list[Day]
    report: Path | None = None


def catalogue_of(folder: Path, options: ReadOptions) -> Catalogue:
    """What a folder of filled scenes, a data set, a run or any folder of GeoTIFFs has to show.

    Args:
        folder: one of those; of a run the data set is shown.
        options: how rasters are read; band, codes, date pattern.

    Raises:
        DataError: nothing to show.
        RunError: a run whose provenance is damaged.
    """
    if (folder / FILE).exists():
        data = Path(read_provenance(folder).data)
        found = catalogue_of(data, options)
        report = folder / "report.html"
        return Catalogue(f"{folder.name}: {data}", found.days, report if report.exists() else None)
    if (folder / "history").is_dir():
        return Catalogue(str(folder), _data_set(folder, options))
    return Catalogue(str(folder), _scenes(folder, options))


def _data_set(data: Path, options: ReadOptions) -> list[Day]:
    days = [(_when(path, options), Day(_when(path, options), {"observed": path}))
            for path in list_scenes(data / "history", options)]  # fmt: skip
    truths: dict[str, Path] = {}
    for folder in ("truth", "gapped"):
        if not (data / folder).is_dir():
            continue
        rasters = list_rasters(data / folder, at_least=0)
        for path in sorted({*rasters} - quality_files(rasters, options)):
            when = _when(path, options)
            if folder == "truth":
                truths[when] = path
                days.append((when, Day(f"{_when(path, options)} truth", {"truth": path})))
            else:
                layers = {"observed": path} | ({"truth": truths[when]} if when in truths else {})
                days.append((when, Day(f"{_when(path, options)} {path.stem}", layers)))
    return [day for _, day in sorted(days, key=lambda found: (found[0], found[1].label))]


def _scenes(folder: Path, options: ReadOptions) -> list[Day]:
    paths = list_scenes(folder, options)
    sidecars = {file for path in paths for file in sidecars_of(path)} & {*paths}
    days = []
    for path in paths:
        if path in sidecars:
            continue
        source, std = sidecars_of(path)
        filled = source in sidecars and std in sidecars
        layers = {"observed": path, **({"filled": path, "std": std, "source": source} if filled else {})}
        days.append((_when(path, options), Day(path.stem, layers)))
    dates = Counter(when for when, _ in days)
    return [
        Day(when if when == day.label or dates[when] == 1 else f"{when} {day.label}", day.layers)
        for when, day in sorted(days, key=lambda found: (found[0], found[1].label))
    ]


def _date(path: Path, options: ReadOptions) -> date | None:
    try:
        return read_date(path, options.date_pattern)
    except DataError:
        return None  # a scene without a date can be looked at all the same


def _when(path: Path, options: ReadOptions) -> str:
    """The date of a scene, or its name."""
    when = _date(path, options)
    return when.isoformat() if when else path.stem
