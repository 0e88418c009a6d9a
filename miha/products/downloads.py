"""What lies in a download: files in folders, archives and on the web, and which of them are scenes of which day."""

import os
import posixpath
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path

from miha.errors import ConfigError, DataError
from miha.events import Message, publish
from miha.products.cubes import days_of_bands
from miha.products.hours import Hours
from miha.products.patterns import Pattern
from miha.products.product import Recipe
from miha.rasters.dates import read_date
from miha.wording import plural

_REMOTE = {"https://": "/vsicurl/https://", "http://": "/vsicurl/http://", "s3://": "/vsis3/", "gs://": "/vsigs/"}
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2")


@dataclass(frozen=True)
class Observation:
    """A scene of one day, and the files that go with it, as GDAL names them.

    Attributes:
        path: its file.
        when: its day.
        at: its time of day; None: unknown.
        recipe: how it is read.
        quality: the file of each of the recipe's rules; None: there is none.
        geolocation: the file with longitudes and latitudes, if the recipe asks for one; None: there is none.
        band: of a cube, in the scene and its quality layers; None: as the recipe says.
    """

    path: str
    when: date
    recipe: Recipe
    quality: tuple[str | None, ...] = ()
    geolocation: str | None = None
    band: int | None = None
    at: time | None = None


@dataclass(frozen=True)
class Download:
    """Scenes in the order of their days and names, and what was not used."""

    observations: tuple[Observation, ...]
    unusable: tuple[DataError, ...]


def list_files(places: Sequence[str]) -> list[str]:
    """All files of a download, as GDAL names them, sorted.

    Args:
        places: folders (looked through to their ends), archives (.zip, .tar), rasters, addresses (https, s3, gs, or
            GDAL's /vsi…), and text files (.txt) with one of these a line.

    Raises:
        DataError: one that is not there, or an archive that cannot be read.
    """
    found: set[str] = set()
    for place in places:
        path = Path(place)
        if place.startswith("/vsi"):
            found.add(place)
        elif remote := next((start for start in _REMOTE if place.startswith(start)), None):
            found.add(_REMOTE[remote] + place.removeprefix(remote))
        elif path.is_dir():
            for folder, _, names in os.walk(path):
                for name in names:
                    found.update(_within(Path(folder) / name))
        elif not path.is_file():
            raise DataError(f"{place} is not there. Give folders, files, archives, or addresses (https://, s3://).")
        elif path.suffix.lower() == ".txt":
            lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            found.update(list_files([line for line in lines if line and not line.startswith("#")]))
        else:
            found.update(_within(path))
    return sorted(found)


def _within(path: Path) -> list[str]:
    """A file, or the files in an archive; hidden ones are passed over."""
    name = path.name.lower()
    if name.startswith("."):
        return []
    if not name.endswith((".zip", *_TARS)):
        return [path.as_posix()]
    kind = "vsizip" if name.endswith(".zip") else "vsitar"
    try:
        if kind == "vsizip":
            with zipfile.ZipFile(path) as archive:
                members = [member.filename for member in archive.infolist() if not member.is_dir()]
        else:
            with tarfile.open(path) as tape:
                members = [member.name for member in tape if member.isfile()]
    except (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an archive ({error}). Download it again.") from error
    seen = (member.removeprefix("./") for member in members if not posixpath.basename(member).startswith("."))
    return [f"/{kind}/{path.resolve().as_posix()}/{member}" for member in seen]


def find_observations(files: Sequence[str], recipes: Sequence[Recipe], hours: Hours | None = None) -> Download:
    """Which files are scenes, of which days, with which layers beside them; of several recipes the first that fits.

    Only those of certain times of day, where ``hours`` are given.

    Listed apart is why a scene cannot be used: its day is unknown, or it has several quality layers.

    Raises:
        ConfigError: hours are asked for, and a pattern tells none.
        DataError: no file fits any pattern, or no scene can be used, or is of these hours.
    """
    index = _Index(files)
    patterns = [(Pattern(text), recipe) for recipe in recipes for text in recipe.files]
    found, unusable = list[Observation](), list[DataError]()
    for path in files:
        for pattern, recipe in patterns:
            if matched := pattern.match(path):
                try:
                    found += _observations(path, *matched, recipe, index)
                except DataError as error:
                    unusable.append(error)
                break
    if not found and unusable:
        raise unusable[0]
    if not found:
        wanted = ", ".join(text for recipe in recipes for text in recipe.files)
        seen = ", ".join(Path(path).name for path in files[:3]) or "none at all"
        raise DataError(
            f"none of {plural(len(files), 'file')} is a scene of this product: wanted are {wanted}; there are {seen}"
            f"{', …' if len(files) > 3 else ''}. Choose another --product or --layer, or change its files."
        )
    if hours:
        found = _of_hours(found, hours)
    ordered = tuple(sorted(found, key=lambda observation: (observation.when, observation.path)))
    return Download(ordered, tuple(unusable))


def _of_hours(found: Sequence[Observation], hours: Hours) -> list[Observation]:
    chosen = []
    for one in found:
        if one.at is None:
            raise ConfigError(
                f"--hours: the time of {one.path} cannot be read. Put {{date:%Y%m%dT%H%M}}, or as it is written there, "
                "into the product's files."
            )
        if hours.hold(one.at):
            chosen.append(one)
    publish(Message(f"{len(chosen)} of {plural(len(found), 'scene')} {'is' if len(chosen) == 1 else 'are'} of {hours}"))
    if not chosen:
        times = sorted(one.at for one in found if one.at)
        raise DataError(f"no scene is of {hours}; there are such of {times[0]:%H:%M} to {times[-1]:%H:%M} (--hours).")
    return chosen


def _observations(
    path: str, fields: Mapping[str, str], when: date | None, recipe: Recipe, index: "_Index"
) -> list[Observation]:
    """The scenes of a file: one, or of a cube one for each band."""
    if recipe.days == "bands":
        days = days_of_bands(path, recipe.subdataset)
        return [_observation(path, fields, day, recipe, index, band) for band, day in days.items()]
    if when is None:
        try:
            when = read_date(Path(path))
        except DataError as error:
            raise DataError(
                f"the day of {path} cannot be read: put {{date:%Y%m%d}} into the product's files, or rename the file."
            ) from error
    return [_observation(path, fields, when, recipe, index)]


def _observation(
    path: str,
    fields: Mapping[str, str],
    when: date | datetime,
    recipe: Recipe,
    index: "_Index",
    band: int | None = None,
) -> Observation:
    known = {**fields, "name": Path(path).stem}

    def beside(text: str | None) -> str | None:
        return path if text is None else index.find(path, text, known, when)

    day, at = (when.date(), when.time()) if isinstance(when, datetime) else (when, None)
    return Observation(
        path,
        day,
        recipe,
        tuple(beside(rule.file) for rule in recipe.clear),
        beside(recipe.geolocation.file) if recipe.geolocation else None,
        band,
        at,
    )


@dataclass
class _Index:
    """Files of a download by their folders."""

    files: Sequence[str]
    folders: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.files:
            self.folders.setdefault(posixpath.dirname(path), []).append(path)

    def find(self, scene: str, text: str, fields: Mapping[str, str], when: date) -> str | None:
        """The file of that pattern in the folder of a scene, else anywhere.

        Raises:
            DataError: several.
        """
        where, name = posixpath.split(text)
        folder = posixpath.normpath(posixpath.join(posixpath.dirname(scene), where))
        pattern = Pattern(name, fields, when)
        found = [path for path in self.folders.get(folder, []) if pattern.match(path)]
        if not found:
            found = [path for path in self.files if pattern.match(path)]
        if len(found) > 1:
            raise DataError(f"{scene} has several files {text}: {found[0]}, {found[1]}. Make the pattern exact.")
        return found[0] if found else None
