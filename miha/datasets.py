"""Published data sets: fetching them with checksums, and turning them into folders of GeoTIFFs."""

import gzip
import hashlib
import logging
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from pooch.core import retrieve
from pydantic import BaseModel, ConfigDict
from rasterio.transform import from_bounds

from miha.documents import read_document
from miha.errors import DataError
from miha.events import Counted, publish
from miha.files import replacing_folder, write_json
from miha.rasters.verify import verify_raster

DATA_DIR_VARIABLE = "MIHA_DATA_DIR"
SOURCE_FILE = "source.json"  # what fetch leaves beside the raw files, for prepare
GAP_CODE = -100.0  # of the SSGP arrays


@dataclass(frozen=True)
class Published:
    """A data set somebody published.

    Attributes:
        url: folder on the web, at a pinned revision where there is one.
        manifest: list of SHA-256 checksums in this package; of a ``.gz`` file, of its content.
        local: the same folder below ``MIHA_DATA_DIR``.
        folder: the part of the manifest that is this data set ("" for all of it).
        bounds: west, south, east, north in degrees (EPSG:4326); None if it is not a raster.
    """

    url: str
    manifest: str
    local: str
    folder: str = ""
    bounds: tuple[float, float, float, float] | None = None


class Origin(BaseModel):
    """What ``source.json`` says beside fetched files: a name in PUBLISHED, and what is written there of it."""

    model_config = ConfigDict(frozen=True)

    name: str
    url: str
    folder: str
    bounds: tuple[float, float, float, float] | None


_SSGP = "https://raw.githubusercontent.com/Dreamlone/SSGP-toolbox/d7621b547cdc87bac677db2fe8dbcdca8de2b62c/Comparison"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
PUBLISHED: dict[str, Published] = {
    "madrid": Published(_SSGP, "ssgp.sha256", "ssgp", "Madrid", (-5, 39, -4, 40)),
    "stpetersburg": Published(_SSGP, "ssgp.sha256", "ssgp", "StPetersburg", (30, 58, 31, 59)),
    "vladivostok": Published(_SSGP, "ssgp.sha256", "ssgp", "Vladivostok", (132, 44, 133, 45)),
    "mnist": Published(_MNIST, "mnist.sha256", "mnist"),
}


def checksums(name: str) -> dict[str, str]:
    """Path in the data set → SHA-256, from the manifest in this package.

    Raises:
        DataError: no data set of that name.
    """
    if name not in PUBLISHED:
        raise DataError(f"unknown data set {name!r}; known are {', '.join(PUBLISHED)}.")
    source = PUBLISHED[name]
    lines = (resources.files("miha") / "manifests" / source.manifest).read_text().splitlines()
    listed = {file: checksum for checksum, file in (line.split(maxsplit=1) for line in lines)}
    if source.manifest == "mnist.sha256":  # lists what is inside the archives
        listed = {f"{file}.gz": checksum for file, checksum in listed.items()}
    return {file: checksum for file, checksum in listed.items() if file.startswith(source.folder)}


def fetch(name: str, out: Path) -> None:
    """Bring a published data set to ``out``, from ``MIHA_DATA_DIR`` where it holds the files, else from the web.

    A folder that already holds all of it is left alone. Every file is checked; if one differs, nothing is kept.

    Raises:
        DataError: unknown name, a checksum that differs, or files that are neither here nor to be reached.
    """
    source, listed = PUBLISHED.get(name), checksums(name)
    assert source is not None
    if out.is_dir() and all(_matches(out / _inside(source, file), checksum) for file, checksum in listed.items()):
        publish(Counted("files", len(listed), len(listed), f"{out} (complete already)"))
        return
    with replacing_folder(out) as folder:
        for done, (file, checksum) in enumerate(listed.items(), start=1):
            target = folder / _inside(source, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            brought_from = _bring(source, file, target)
            if not _matches(target, checksum):
                raise DataError(
                    f"{brought_from} has another checksum than the manifest ({checksum[:12]}…); nothing was kept. "
                    "Fetch again, or repair the source."
                )
            publish(Counted("files", done, len(listed), file.rpartition("/")[2]))
        origin = Origin(name=name, url=source.url, folder=source.folder, bounds=source.bounds)
        write_json(folder / SOURCE_FILE, origin.model_dump(mode="json"))


def _inside(source: Published, file: str) -> str:
    return file.removeprefix(source.folder).lstrip("/")


def _bring(source: Published, file: str, target: Path) -> str:
    """Copy or download one file; returns where it came from."""
    here = os.environ.get(DATA_DIR_VARIABLE)
    local = Path(here) / source.local / file if here else None
    if local and local.is_file():
        shutil.copyfile(local, target)
        return str(local)
    url = f"{source.url}/{file}"
    logging.getLogger("pooch").setLevel(logging.WARNING)
    try:
        retrieve(url, known_hash=None, fname=target.name, path=target.parent)
    except Exception as error:  # pooch passes on whatever its transport raises
        looked = f"{local} does not exist and " if local else ""
        raise DataError(
            f"{looked}{url} cannot be reached ({type(error).__name__}). Connect to the internet, or set "
            f"{DATA_DIR_VARIABLE} to a folder that holds {source.local}/{file}."
        ) from error
    return url


def _matches(path: Path, checksum: str) -> bool:
    if not path.is_file():
        return False
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        return False
    return hashlib.sha256(content).hexdigest() == checksum


# -------------------------------------------------------------------- preparing

_INPUT_NAME = re.compile(r"(\d{8})T\d{6}_(\d+)_percent")


def prepare(raw: Path, out: Path) -> None:
    """Turn a fetched SSGP city into GeoTIFFs: ``history/ static/ gapped/ truth/ published/<method>/``.

    Land surface temperature in kelvin, float32, EPSG:4326, -100 where there is no observation.

    Raises:
        DataError: ``raw`` is not such a folder, or an array in it cannot be read, or ``out`` is ``raw``.
    """
    bounds = _bounds(raw)
    if out.resolve() == raw.resolve():
        raise DataError(f"{out} holds the fetched files, which stay as they are. Choose another --out.")
    methods = sorted(path for path in (raw / "model_outputs").glob("*") if path.is_dir())
    with replacing_folder(out) as folder:
        for path in _arrays(raw / "training_sample"):
            _write(folder / "history" / f"{path.stem[:8]}.tif", _load(path), bounds)
        for path in _arrays(raw / "actual_matrix"):
            _write(folder / "truth" / f"{path.stem[:8]}.tif", _load(path), bounds)
        _write(
            folder / "static" / "elevation.tif",
            _load(raw / "additional_matrices" / "elevation_matrix.npy"),
            bounds,
            "m",
        )
        biomes = _load(raw / "additional_matrices" / "biomes_matrix.npy").astype(np.uint8)
        _write(folder / "static" / "biome.tif", biomes, bounds, "")
        inputs = _by_size(raw / "inputs")
        for (day, size), path in inputs.items():
            _write(folder / "gapped" / f"{day}_gap{size:02d}.tif", _load(path), bounds)
        for method in methods:
            # Madrid's input of 27 percent is called 29 in the outputs, so they are matched by order.
            outputs = list(_by_size(method).values())
            if len(outputs) != len(inputs):
                raise DataError(
                    f"{method} holds {len(outputs)} arrays, {raw / 'inputs'} {len(inputs)}. Fetch the data again."
                )
            for (day, size), path in zip(inputs, outputs, strict=True):
                _write(
                    folder / "published" / method.name / f"{day}_gap{size:02d}.tif",
                    _load(path).astype(np.float32),
                    bounds,
                )


def _bounds(raw: Path) -> tuple[float, float, float, float]:
    if not (raw / "training_sample").is_dir():
        raise DataError(
            f"{raw} is no fetched city: it has no training_sample/. Get one with `miha fetch madrid --out {raw}`, "
            "or name what was downloaded by --product (`miha products` lists them; generic: rasters of your own)."
        )
    file = raw / SOURCE_FILE
    remedy = "Fetch the data again."
    name = read_document(file, Origin, DataError, remedy).name if file.exists() else raw.name.lower()
    bounds = PUBLISHED[name].bounds if name in PUBLISHED else None
    if bounds is None:
        cities = ", ".join(city for city, source in PUBLISHED.items() if source.bounds)
        raise DataError(f"which city is {raw}? It has no {SOURCE_FILE}; name the folder after one of {cities}.")
    return bounds


def _arrays(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.npy"))
    if not paths:
        raise DataError(f"{folder} holds no arrays (*.npy). Fetch the data again.")
    return paths


def _by_size(folder: Path) -> dict[tuple[str, int], Path]:
    """(YYYYMMDD, percent) → path, in the order of the gap sizes."""
    found = {}
    for path in _arrays(folder):
        match = _INPUT_NAME.fullmatch(path.stem)
        if not match:
            raise DataError(f"{path} is not named like 20190903T000000_5_percent.npy. Fetch the data again.")
        found[match[1], int(match[2])] = path
    return dict(sorted(found.items()))


def _load(path: Path) -> NDArray[np.float32]:
    try:
        array: NDArray[np.float32] = np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array ({error}). Fetch the data again.") from error
    return array


def _write(
    path: Path,
    values: "NDArray[np.float32] | NDArray[np.uint8]",
    bounds: tuple[float, float, float, float],
    unit: str = "K",
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    profile = {
        "driver": "GTiff",
        "dtype": values.dtype.name,
        "count": 1,
        "height": height,
        "width": width,
        "crs": "EPSG:4326",
        "transform": from_bounds(*bounds, width, height),
        "compress": "deflate",
        "nodata": GAP_CODE if values.dtype.kind == "f" else None,
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(values, 1)
        raster.units = (unit,)
    verify_raster(path)
