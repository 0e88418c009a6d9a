"""What a raster's file has beside its pixels: description, place on earth, overviews, layout, files that go with it."""

from pathlib import Path
from typing import Any

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader, DatasetWriter

_STATISTICS = ("STATISTICS_", "TIFFTAG_MINSAMPLEVALUE", "TIFFTAG_MAXSAMPLEVALUE")  # of pixels that were not filled yet
_SIDECARS = (".ovr", ".aux.xml", ".msk", ".msk.ovr")  # what GDAL reads beside a file, behind the whole of its name
_PREDICTORS = {"2": "STANDARD", "3": "FLOATING_POINT"}  # TIFF's number → name of the COG driver


def copy_description(raster: DatasetReader, output: DatasetWriter) -> None:
    """Tags of the file and its bands, band names, units, scales and offsets: what a profile does not hold.

    Statistics are left out, since they are of other pixels.
    """
    for namespace in (None, *raster.tag_namespaces()):
        if namespace not in ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS"):
            output.update_tags(ns=namespace, **_kept(raster.tags(ns=namespace), namespace))
    for band in raster.indexes:
        output.update_tags(band, **_kept(raster.tags(band)))
    output.descriptions, output.units = raster.descriptions, tuple(unit or "" for unit in raster.units)
    output.scales, output.offsets = raster.scales, raster.offsets
    output.colorinterp = raster.colorinterp
    for band in raster.indexes:
        if raster.colorinterp[band - 1] == ColorInterp.palette:
            output.write_colormap(band, raster.colormap(band))


def _kept(tags: dict[str, str], namespace: str | None = None) -> dict[str, str]:
    if namespace and namespace.startswith("xml:"):  # one text, which rasterio writes as key=value and reads as a whole
        return dict(text.split("=", 1) for text in tags.values() if "=" in text)
    return {key: value for key, value in tags.items() if not key.startswith(_STATISTICS)}


def place_of(raster: DatasetReader) -> dict[str, Any]:
    """Where pixels lie, as options to write a raster: a transform, ground control points, or rational polynomials."""
    points, crs = raster.gcps
    place = {"crs": crs, "gcps": points} if points else {"crs": raster.crs, "transform": raster.transform}
    return {**place, "rpcs": raster.rpcs} if raster.rpcs else place


def is_cloud_optimized(raster: DatasetReader) -> bool:
    """True if a raster is laid out as a cloud optimized GeoTIFF."""
    return bool(raster.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG")


def write_cloud_optimized(
    plain: Path | str,
    path: Path,
    *,
    compress: str = "deflate",
    blocksize: int = 512,
    predictor: str = "NO",
    overviews: bool = True,
    resampling: Resampling = Resampling.nearest,
) -> None:
    """Write the raster ``plain`` as a cloud optimized one.

    Args:
        plain: what to write, as GDAL names it.
        path: where to.
        compress: a lossless compression, or "none".
        blocksize: side of a block, pixels.
        predictor: NO, STANDARD (differences of integers) or FLOATING_POINT.
        overviews: whether it has some, if it is larger than a block.
        resampling: how overviews are made.

    Raises:
        RasterioIOError: it cannot be written.
    """
    try:
        rasterio.shutil.copy(
            plain,
            path,
            driver="COG",
            bigtiff="if_safer",
            compress=compress,
            blocksize=blocksize,
            predictor=predictor,
            overviews="AUTO" if overviews else "NONE",
            overview_resampling=resampling.name,
        )
    except CPLE_BaseError as error:  # which rasterio lets through here alone
        raise RasterioIOError(str(error)) from error


def layout_of(raster: DatasetReader) -> dict[str, Any]:
    """Blocks, predictor and kind of overviews of a raster, as :func:`write_cloud_optimized` takes them."""
    return {
        "blocksize": raster.block_shapes[0][0],
        "predictor": _PREDICTORS.get(raster.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", ""), "NO"),
        "overviews": bool(raster.overviews(1)),
        "resampling": _resampling(raster),
    }


def build_overviews(path: Path, raster: DatasetReader) -> None:
    """Give the raster at ``path`` overviews of the sizes and the kind that ``raster`` has."""
    if factors := raster.overviews(1):
        with rasterio.open(path, "r+") as output:
            output.build_overviews(factors, _resampling(raster))


def _resampling(raster: DatasetReader) -> Resampling:
    if not raster.overviews(1):
        return Resampling.nearest
    with rasterio.open(raster.name, overview_level=0) as overview:
        name = overview.tags(1).get("RESAMPLING", "nearest").lower()
    return Resampling.__members__.get(name, Resampling.nearest)


def remove_sidecars(path: Path) -> None:
    """Remove what GDAL would read beside ``path`` and take for its own, before another raster takes that name."""
    for suffix in _SIDECARS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
