"""SpatioTemporal Asset Catalogs: an item beside each filled scene, and a collection of a series (extra ``stac``).

Items are of STAC 1.1 with the extensions projection 2.0, raster 1.1 and classification 2.0.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from pystac.extensions.classification import Classification, ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import DataType, NoDataStrings, RasterBand, RasterExtension, Statistics
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds, transform_geom
from rasterio.windows import Window

from miha.errors import DataError
from miha.files import write_json
from miha.rasters.layout import is_cloud_optimized
from miha.rasters.scene import list_rasters
from miha.rasters.stac_files import COLLECTION, SUBJECT, check_replaceable, item_of
from miha.rasters.window import bands_of, unit_of
from miha.rasters.writing import EMPTY, FILLED, OBSERVED, sidecars_of

LONGITUDE_LATITUDE = "EPSG:4326"
WORLD = [-180.0, -90.0, 180.0, 90.0]
DIGITS = 7  # of a degree: a centimetre
ORIGINS = (
    (OBSERVED, "observed", "as it was observed"),
    (FILLED, "filled", "filled by MIHA"),
    (EMPTY, "left", "left as it was: missing, or a code that stays"),
)


def write_item(target: Path, when: date) -> Path:
    """Write the item of a filled scene beside it; returns its path. Addresses in it are relative.

    It belongs to the collection in whose folder it lies, if there is one. Geometry and bounds are in longitude and
    latitude; they are null where a scene has no place on earth. Statistics are of the numbers as stored.

    Args:
        target: the filled scene, beside which its two maps lie.
        when: its day.

    Raises:
        DataError: the files cannot be read, or have no place on earth that can be told in degrees; or another file has
            the name of the item.
        StorageError: it cannot be written.
    """
    check_replaceable([target])
    origin, deviation = sidecars_of(target)
    try:
        with rasterio.open(target) as raster:
            geometry, bounds = _place(raster)
            item = pystac.Item(target.stem, geometry, bounds, datetime.combine(when, time(), UTC), {})
            _add_projection(item, raster)
            _add_asset(item, "data", target, raster, ["data"], "scene, its gaps filled")
        with rasterio.open(deviation) as raster:
            title = "standard deviation of what was filled"
            _add_asset(item, "std", deviation, raster, ["metadata", "uncertainty"], title)
        with rasterio.open(origin) as raster:
            asset = _add_asset(item, "source", origin, raster, ["metadata", "data-mask"], "where pixels come from")
    except RasterioError as error:
        raise DataError(f"{target} cannot be described: {error}. Fill it anew.") from error
    classes = [Classification.create(value, description, name) for value, name, description in ORIGINS]
    ClassificationExtension.ext(asset, add_if_missing=True).classes = classes
    if (target.parent / COLLECTION).exists():
        item.collection_id = _collection_name(target.parent)
        item.add_link(pystac.Link(pystac.RelType.COLLECTION, f"./{COLLECTION}", pystac.MediaType.JSON))
    path = item_of(target)
    write_json(path, item.to_dict(include_self_link=False, transform_hrefs=False))
    return path


def write_collection(folder: Path, name: str) -> Path:
    """Write ``collection.json`` of the filled scenes in a folder that have an item; returns its path.

    Args:
        folder: of the filled scenes.
        name: of the data that were filled.

    Raises:
        StorageError: it cannot be written.
    """
    targets = [path for path in list_rasters(folder, 0) if all(beside.exists() for beside in sidecars_of(path))]
    items = [pystac.Item.from_file(item_of(target)) for target in targets if item_of(target).exists()]
    bounds = [item.bbox for item in items if item.bbox] or [WORLD]
    days = sorted(item.datetime for item in items if item.datetime)
    span: list[datetime | None] = [days[0], days[-1]] if days else [None, None]
    extent = pystac.Extent(pystac.SpatialExtent([_around(bounds)]), pystac.TemporalExtent([span]))
    collection = pystac.Collection(_collection_name(folder), f"{name}, {SUBJECT}", extent)
    for item in items:
        link = pystac.Link(pystac.RelType.ITEM, f"./{item.id}.json", pystac.MediaType.GEOJSON)
        collection.add_link(link)
    path = folder / COLLECTION
    write_json(path, collection.to_dict(include_self_link=False, transform_hrefs=False))
    return path


def _collection_name(folder: Path) -> str:
    return folder.resolve().name


def _around(bounds: Sequence[Sequence[float]]) -> list[float]:
    """Bounds of several; those across the antimeridian, whose west is greater than their east, are all alike."""
    west, south, east, north = np.array(bounds).T
    return [float(west.min()), float(south.min()), float(east.max()), float(north.max())]


def _place(raster: DatasetReader) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Outline and bounds in longitude and latitude; None where the raster does not say where it lies."""
    points, crs = raster.gcps
    if raster.crs:
        pixels = _corners(0, 0, raster.width, raster.height)
        crs, corners = raster.crs, [raster.xy(row, column, offset="ul") for column, row in pixels]
    elif points:
        columns, rows = ([getattr(point, axis) for point in points] for axis in "xy")
        corners = _corners(min(columns), max(rows), max(columns), min(rows))
    else:
        return None, None
    ring = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    outline = transform_geom(crs, LONGITUDE_LATITUDE, ring, precision=DIGITS)
    east, north = zip(*corners, strict=True)
    bounds = transform_bounds(crs, LONGITUDE_LATITUDE, min(east), min(north), max(east), max(north))
    if not np.isfinite(bounds).all():
        raise DataError(f"{raster.name} lies outside of what its CRS can tell. Give it the right one (gdal_edit.py).")
    return outline, [round(bound, DIGITS) for bound in bounds]


def _corners(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (left, bottom), (right, bottom), (right, top)]


def _add_projection(item: pystac.Item, raster: DatasetReader) -> None:
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.shape = list(raster.shape)
    if raster.crs:
        code = raster.crs.to_authority()
        projection.code = ":".join(code) if code else None
        projection.transform = list(raster.transform)[:6]
        if not code:
            projection.wkt2 = raster.crs.to_wkt(version="WKT2_2019")


def _add_asset(
    item: pystac.Item, name: str, path: Path, raster: DatasetReader, roles: list[str], title: str
) -> pystac.Asset:
    kind = pystac.MediaType.COG if is_cloud_optimized(raster) else pystac.MediaType.GEOTIFF
    asset = pystac.Asset(f"./{path.name}", title=title, media_type=kind, roles=roles)
    item.add_asset(name, asset)
    RasterExtension.ext(asset, add_if_missing=True).bands = [_band(raster, band) for band in raster.indexes]
    return asset


def _band(raster: DatasetReader, band: int) -> RasterBand:
    index = band - 1
    nodata = raster.nodatavals[index]
    return RasterBand.create(
        nodata=NoDataStrings.NAN if nodata is not None and np.isnan(nodata) else nodata,
        data_type=DataType(raster.dtypes[index]) if raster.dtypes[index] in {*DataType} else DataType.OTHER,
        unit=unit_of(raster, band) or None,
        scale=raster.scales[index],
        offset=raster.offsets[index],
        statistics=_statistics(raster, band),
    )


def _statistics(raster: DatasetReader, band: int) -> Statistics:
    """Of the numbers that are there, as stored."""
    count, total, squares, least, most = 0, 0.0, 0.0, np.inf, -np.inf
    centre: float | None = None  # near the mean, so that squares do not cancel
    for where in bands_of(raster):
        numbers = raster.read(band, window=Window.from_slices(*where), masked=True).compressed().astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            continue
        centre = float(numbers.mean()) if centre is None else centre
        count, total = count + numbers.size, total + float((numbers - centre).sum())
        squares += float(((numbers - centre) ** 2).sum())
        least, most = min(least, float(numbers.min())), max(most, float(numbers.max()))
    if centre is None:
        return Statistics.create(valid_percent=0.0)
    away = total / count
    return Statistics.create(
        minimum=least,
        maximum=most,
        mean=centre + away,
        stddev=float(np.sqrt(max(squares / count - away**2, 0))),
        valid_percent=100 * count / (raster.width * raster.height),
    )
