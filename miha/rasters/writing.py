"""Writing a filled scene: the input raster bit for bit, but for the pixels of its gaps; and maps that go with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from miha.errors import DataError, StorageError
from miha.files import real, replacing
from miha.rasters.layout import (
    build_overviews,
    copy_description,
    is_cloud_optimized,
    layout_of,
    place_of,
    remove_sidecars,
    write_cloud_optimized,
)
from miha.rasters.options import ReadOptions
from miha.rasters.stac_files import is_own_item, item_of
from miha.rasters.verify import verify_raster
from miha.rasters.window import GEOTIFF, Image, Mask, bands_of, open_raster, unit_of

LOSSY = {"jpeg", "webp", "lerc", "lerc_deflate", "lerc_zstd", "jxl"}  # written as deflate, so that observed pixels stay
OBSERVED, FILLED, EMPTY = 0, 1, 2  # values of <name>_source.tif


def write_filled(
    source: Path,
    target: Path,
    values: Image,
    std: Image,
    gaps: Mask,
    options: ReadOptions,
    sharing: Mapping[int, Image] | None = None,
) -> None:
    """Write ``source`` with its gaps filled, and beside it two maps.

    ``<name>_source.tif`` says where each pixel comes from (0 observed, 1 filled, 2 left as it was), ``<name>_std.tif``
    how sure filled ones are (float32, in the data's unit; NaN elsewhere).

    Name, profile, place, tags, overviews, layout and every observed pixel stay; statistics go, and so does what lay
    beside a former ``target``, its STAC item too. An alpha band becomes opaque where it is filled. In integer rasters
    scale and offset are undone, and a filled pixel never takes a nodata code.

    Args:
        source: the raster that was read.
        target: where to write, in another folder.
        values: (height, width) in the data's unit; read in the gaps only. A gap stays empty where it is NaN.
        std: standard deviation of ``values``, (height, width); read where filled.
        gaps: (height, width), True where nothing was observed.
        options: how ``source`` was read.
        sharing: values of other bands by number, in their units, which one mask or alpha band hides together with the
            band of ``options``; read where it does.

    Raises:
        DataError: ``target`` is ``source``.
        StorageError: the disk is full or refuses.
    """
    shared = sharing or {}

    def part(where: tuple[slice, slice]) -> Part:
        return Part(values[where], std[where], gaps[where], {band: image[where] for band, image in shared.items()})

    write_parts(source, target, part, options)


@dataclass(frozen=True)
class Part:
    """A window of a filled scene, arrays (height, width), as in :func:`write_filled`; tags of ``<name>_std.tif``."""

    values: Image
    std: Image
    gaps: Mask
    sharing: Mapping[int, Image]
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def filled(self) -> Mask:
        """True where a value was found for a gap."""
        return self.gaps & ~np.isnan(self.values)


def write_parts(
    source: Path,
    target: Path,
    part_of: Callable[[tuple[slice, slice]], Part],
    options: ReadOptions,
    blank: date | None = None,
) -> None:
    """:func:`write_filled`, of a scene that need not be in memory.

    Args:
        source: the raster that was read.
        target: where to write, in another folder.
        part_of: rows and columns of a window → what is filled there; asked once for each, from the top to the bottom.
        options: how ``source`` was read.
        blank: a day of which there is no scene; then nothing that ``source`` shows is written, only what is filled.

    Raises:
        DataError: ``target`` is ``source``; or nothing can stand for what stays empty in a blank scene.
        StorageError: the disk is full or refuses.
    """
    if real(target) == real(source):
        raise DataError(f"{target} would overwrite its input. Choose another --out.")
    origin_file, deviation_file = sidecars_of(target)
    with (
        replacing(origin_file) as temporary_origin,
        replacing(deviation_file) as temporary_deviation,
        replacing(target) as temporary,
    ):
        maps = temporary_origin, temporary_deviation
        try:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), open_raster(source) as raster:
                if is_cloud_optimized(raster):
                    plain = temporary.with_suffix(".plain.tif")
                    try:
                        _write_scene(plain, maps, raster, part_of, options, blank)
                        compress = _profile(raster).get("compress") or "none"
                        write_cloud_optimized(plain, temporary, compress=compress, **layout_of(raster))
                    finally:
                        plain.unlink(missing_ok=True)
                else:
                    _write_scene(temporary, maps, raster, part_of, options, blank)
                    build_overviews(temporary, raster)
        except RasterioError as error:
            raise StorageError(f"cannot write {target}: {error}. Free space or choose another folder.") from error
        for written in (temporary, temporary_origin, temporary_deviation):
            verify_raster(written)
        for replaced in (target, origin_file, deviation_file):
            remove_sidecars(replaced)
        if is_own_item(item := item_of(target)):  # of a former raster, whose figures it holds
            item.unlink()


def _profile(raster: DatasetReader) -> dict[str, Any]:
    """How to write a copy of a raster, a GeoTIFF whatever it is itself."""
    profile = {key: value for key, value in raster.profile.items() if key not in ("crs", "transform")}
    if raster.driver != "GTiff":
        profile = {key: profile[key] for key in ("dtype", "nodata", "width", "height", "count")}
        profile |= {"driver": "GTiff", "compress": "deflate"}
    profile |= {"bigtiff": "if_safer", **place_of(raster)}
    if str(profile.get("compress", "")).lower() in LOSSY:
        profile |= {"compress": "deflate", "photometric": None}
    return profile


def _write_scene(
    path: Path,
    maps: tuple[Path, Path],
    raster: DatasetReader,
    part_of: Callable[[tuple[slice, slice]], Part],
    options: ReadOptions,
    blank: date | None,
) -> None:
    """Write a copy of a raster with other values where it is filled, and the two maps that go with it."""
    band, unit = options.band, unit_of(raster, options.band)
    masked = MaskFlags.per_dataset in raster.mask_flag_enums[band - 1]
    mask = raster.read_masks(band) if masked else None
    left, tags, empty = False, dict[str, str](), _empty(raster, options) if blank else None
    with (
        rasterio.open(path, "w", **_profile(raster)) as output,
        _map(maps[0], np.uint8, raster, None, "") as origins,
        _map(maps[1], np.float32, raster, np.nan, unit) as deviations,
    ):
        copy_description(raster, output)
        if blank:
            output.update_tags(TIFFTAG_DATETIME=f"{blank:%Y:%m:%d} 00:00:00")
        for where in bands_of(raster):
            part, window = part_of(where), Window.from_slices(*where)
            block, hole = raster.read(window=window), part.filled
            if empty is not None:
                block[:] = empty
            block[band - 1][hole] = encode(part.values[hole], raster, options)
            hidden = hole & (raster.read_masks(band, window=window) == 0) if part.sharing else hole
            for other, values in part.sharing.items():
                own = options.model_copy(update={"band": other, "valid_range": None})  # in that of band
                block[other - 1][hidden] = encode(values[hidden], raster, own)
            for alpha in _alpha_bands(raster):
                block[alpha][hole] = _opaque(block.dtype)
            output.write(block, window=window)
            origin = np.where(part.gaps, np.where(hole, FILLED, EMPTY), OBSERVED).astype(np.uint8)
            origins.write(origin, 1, window=window)
            deviations.write(np.where(hole, part.std, np.nan).astype(np.float32), 1, window=window)
            tags |= part.tags
            left |= bool((part.gaps & ~hole).any())
            if mask is not None:
                mask[where][hole] = 255
        deviations.update_tags(**tags)
        if mask is not None and left:
            output.write_mask(mask)


def _empty(raster: DatasetReader, options: ReadOptions) -> float:
    """The number of pixels that show nothing."""
    codes = [code for code in (raster.nodatavals[options.band - 1], *options.nodata) if code is not None]
    if not codes:
        raise DataError(
            f"{raster.name} has no nodata value, so a day without a scene cannot be written like it. Set one."
        )
    return float(codes[0])


def _map(path: Path, dtype: type, like: DatasetReader, nodata: float | None, unit: str) -> Any:
    profile = {"driver": "GTiff", "dtype": dtype, "count": 1, "nodata": nodata, "compress": "deflate"}
    profile |= {"bigtiff": "if_safer", "height": like.height, "width": like.width, **place_of(like)}
    output = rasterio.open(path, "w", **profile)
    output.units = (unit,)
    return output


def _alpha_bands(raster: DatasetReader) -> list[int]:
    """Where in a block the bands lie that tell which pixels are seen."""
    return [index for index, kind in enumerate(raster.colorinterp) if kind == ColorInterp.alpha]


def _opaque(dtype: np.dtype[Any]) -> float:
    return np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1.0


def sidecars_of(target: Path) -> tuple[Path, Path]:
    """Where the maps of where pixels come from, and of how sure they are, lie beside a filled scene."""
    return target.with_name(f"{target.stem}_source.tif"), target.with_name(f"{target.stem}_std.tif")


def target_of(source: Path, out: Path) -> Path:
    """Where a scene is filled to: under its own name, as a GeoTIFF."""
    return out / (source.name if source.suffix.lower() in GEOTIFF else f"{source.stem}.tif")


def plan_fills(sources: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Input → output of several fills, each under its input's name.

    Raises:
        DataError: two inputs of one name, or an output or a map beside it that would overwrite another file of these.
    """
    plan = {source: target_of(source, out) for source in sources}
    inputs = {real(source): source for source in sources}
    written: dict[Path, Path] = {}
    for source, target in plan.items():
        for file in (target, *sidecars_of(target)):
            if real(file) in inputs:
                raise DataError(f"{file} would overwrite an input. Choose another --out.")
            if real(file) in written:
                raise DataError(f"{source} and {written[real(file)]} would both write {file}. Fill them apart.")
            written[real(file)] = source
    return plan


def encode(values: Image, raster: DatasetReader, options: ReadOptions) -> NDArray[Any]:
    """Values in the data's unit → numbers as the raster stores them, never a nodata code.

    Integers are rounded, and clipped to what the type holds; all are clipped to the valid range, if there is one.
    """
    band = options.band - 1
    if options.valid_range:
        values = values.clip(*options.valid_range)
    dtype = np.dtype(raster.dtypes[band])
    stored = (values.astype(np.float64) - raster.offsets[band]) / raster.scales[band]
    codes = {code for code in (raster.nodatavals[band], *options.nodata, *options.keep) if code is not None}
    if np.issubdtype(dtype, np.floating):
        numbers: NDArray[Any] = stored.astype(dtype)
        for code in codes:
            numbers[numbers == code] = np.nextafter(dtype.type(code), dtype.type(np.inf))
        return numbers
    limits = np.iinfo(dtype)
    codes = {code for code in codes if limits.min <= code <= limits.max}
    numbers = np.clip(np.rint(stored), limits.min, limits.max)
    for code in codes:
        below, above = (_free(code, step, codes, limits) for step in (-1, 1))
        numbers = np.where(numbers == code, np.where(stored < code, below, above), numbers)
    return np.asarray(numbers, dtype)


def _free(code: float, step: int, codes: set[float], limits: np.iinfo[Any]) -> float:
    """The next number from ``code`` that is no code, in one direction, or in the other where the type ends before."""
    number = code
    while number in codes:
        number += step
    return number if limits.min <= number <= limits.max else _free(code, -step, codes, limits)
