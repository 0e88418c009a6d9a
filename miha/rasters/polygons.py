"""Polygons of a GeoJSON file, brought to the CRS of a raster: only what lies near it, bent as its CRS bends lines."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform, transform_bounds

from miha.errors import DataError

Ring = NDArray[np.float64]  # (points, 2), x and y; the last is not the first again
Box = tuple[float, float, float, float]  # west, south, east, north
MARGIN = 0.05  # of a raster's longer side by which polygons reach beyond it
PIECES = 100  # of that side: longest straight edge, which is a line of another form in another CRS


def read_polygons(path: Path) -> tuple[CRS, list[list[Ring]]]:
    """CRS and polygons of a GeoJSON file, each a list of rings: its outline, then its holes.

    The CRS is that of RFC 7946, longitude and latitude, unless a member ``crs`` (of the format of 2008) names another.

    Raises:
        DataError: no GeoJSON, no polygon, or something else than polygons.
    """
    remedy = f"Write it as GeoJSON of polygons: ogr2ogr -f GeoJSON area.geojson {path.name}."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        name = (content.get("crs") or {}).get("properties", {}).get("name", "OGC:CRS84")
        crs = CRS.from_user_input(name)
        polygons = [[_ring(ring) for ring in polygon] for polygon in _polygons_of(content) if polygon]
    except (TypeError, LookupError, AttributeError) as error:  # a member is lacking, or of another kind
        raise DataError(f"{path} is no GeoJSON of polygons: it lacks what that has. {remedy}") from error
    except (OSError, CRSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an area: {error}. {remedy}") from error
    if not polygons:
        raise DataError(f"{path} holds no polygon, so no pixel would be filled. {remedy}")
    return crs, polygons


def brought_to(polygons: list[list[Ring]], crs: CRS, to: CRS, bounds: Box) -> list[dict[str, Any]]:
    """Polygons as GeoJSON geometries in another CRS, as far as they lie within some bounds there, or just outside.

    Cut first: far from where a CRS is meant for its coordinates mean nothing, and the coast of a continent is one line.

    Args:
        polygons: each a list of rings.
        crs: theirs.
        to: another.
        bounds: in that one.
    """
    found = []
    for box in _boxes(transform_bounds(to, crs, *bounds)):
        side = max(box[2] - box[0], box[3] - box[1])
        reach = MARGIN * side
        grown = box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach
        for polygon in polygons:
            rings = [ring for ring in (cut(ring, grown) for ring in polygon[:1]) if len(ring) >= 3]
            if rings:
                rings += [hole for hole in (cut(ring, grown) for ring in polygon[1:]) if len(hole) >= 3]
                moved = [_moved(bent(ring, side / PIECES), crs, to) for ring in rings]
                found.append({"type": "Polygon", "coordinates": moved})
    return found


def cut(ring: Ring, box: Box) -> Ring:
    """What of a ring lies in a box, by Sutherland and Hodgman (1974, Commun. ACM 17, 32).

    Parts that fall apart stay joined along the sides of the box.
    """
    west, south, east, north = box
    for axis, limit, sign in ((0, west, 1), (1, south, 1), (0, east, -1), (1, north, -1)):
        following = np.roll(ring, -1, axis=0)
        inside, then = (sign * (points[:, axis] - limit) >= 0 for points in (ring, following))
        crossing = inside != then
        step = np.where(crossing, following[:, axis] - ring[:, axis], 1)
        met = ring + ((limit - ring[:, axis]) / step)[:, None] * (following - ring)
        met[:, axis] = limit
        ring = np.stack([ring, met], axis=1)[np.stack([inside, crossing], axis=1)]
    return ring


def bent(ring: Ring, longest: float) -> Ring:
    """A ring with points between its own, so that no edge is longer than ``longest`` along an axis."""
    along = np.roll(ring, -1, axis=0) - ring
    pieces = np.maximum(np.ceil(np.abs(along).max(axis=1) / longest), 1).astype(np.int64)
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = number / np.repeat(pieces, pieces)
    return np.asarray(np.repeat(ring, pieces, axis=0) + share[:, None] * np.repeat(along, pieces, axis=0))


def _moved(ring: Ring, crs: CRS, to: CRS) -> list[tuple[float, float]]:
    columns, rows = transform(crs, to, ring[:, 0].tolist(), ring[:, 1].tolist())
    points = list(zip(columns, rows, strict=True))
    return [*points, points[0]]


def _boxes(box: Box) -> list[Box]:
    """A box of longitudes and latitudes, or its two parts if it lies across the antimeridian."""
    west, south, east, north = box
    return [box] if west <= east else [(west, south, 180.0, north), (-180.0, south, east, north)]


def _ring(points: Any) -> Ring:
    ring = np.array([point[:2] for point in points], np.float64)
    if len(ring) < 4 or not np.isfinite(ring).all():
        raise ValueError("a ring has fewer than four points, or one of them is no number")
    return ring[:-1]


def _polygons_of(content: dict[str, Any]) -> Iterator[Any]:
    """Coordinates of each polygon of a GeoJSON object."""
    kind = content["type"]
    if kind == "Polygon":
        yield content["coordinates"]
    elif kind == "MultiPolygon":
        yield from content["coordinates"]
    elif kind == "Feature":
        if content["geometry"] is not None:
            yield from _polygons_of(content["geometry"])
    elif kind in ("FeatureCollection", "GeometryCollection"):
        for part in content["features" if kind == "FeatureCollection" else "geometries"]:
            yield from _polygons_of(part)
    else:
        raise ValueError(f"it holds a {kind}, which is no area")
