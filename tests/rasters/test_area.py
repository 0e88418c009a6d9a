"""An area laid over scenes: rasters of other grids, and polygons in other CRS."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin, xy
from rasterio.warp import transform

from miha.errors import DataError
from miha.rasters.area import open_area
from miha.rasters.grid import Grid
from tests.support.rasters import write

GRID = Grid(60, 80, "EPSG:32630", tuple(from_origin(400_000, 4_500_000, 1000, 1000))[:6], 1)
WHOLE = slice(0, 60), slice(0, 80)


def geojson(path, *rings, kind="Polygon", crs=None):
    geometry = {"type": kind, "coordinates": [[*ring, ring[0]] for ring in rings]}
    content = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": geometry, "properties": {}}]}
    if crs:
        content["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(content))
    return path


def box(west, south, east, north):
    return [(west, south), (east, south), (east, north), (west, north)]


def centres(grid, crs):
    """Coordinates of the pixels of a grid in a CRS, each (height, width)."""
    rows, columns = np.indices((grid.height, grid.width))
    eastings, northings = xy(rasterio.Affine(*grid.transform), rows.ravel(), columns.ravel())
    found = transform(grid.crs, crs, eastings, northings)
    return [np.reshape(axis, rows.shape) for axis in found]


def test_polygons_in_degrees_hold_the_pixels_whose_centres_lie_in_them(tmp_path):
    """Straight in degrees is bent here: over 80 km by some tenths of a pixel."""
    path = geojson(tmp_path / "area.geojson", box(-3.9, 40.3, -3.5, 40.6), box(-3.8, 40.4, -3.7, 40.5))
    east, north = centres(GRID, "OGC:CRS84")
    expected = (east > -3.9) & (east < -3.5) & (north > 40.3) & (north < 40.6)
    expected &= ~((east > -3.8) & (east < -3.7) & (north > 40.4) & (north < 40.5))
    inside = open_area(path, GRID)
    assert 500 < expected.sum() < 2000
    assert np.array_equal(inside(WHOLE), expected)
    part = slice(13, 41), slice(7, 66)
    assert np.array_equal(inside(part), expected[part])


def test_a_coast_that_goes_around_half_the_world_is_cut_where_the_scenes_are(tmp_path):
    """In the scenes' CRS its far points have no coordinates that mean anything."""
    path = geojson(tmp_path / "land.geojson", box(-3.75, 30, 170, 75))
    east, _ = centres(GRID, "OGC:CRS84")
    assert np.array_equal(open_area(path, GRID)(WHOLE), east > -3.75)


def test_an_area_on_both_sides_of_the_antimeridian_is_found_on_both(tmp_path):
    grid = Grid(20, 40, "EPSG:32660", tuple(from_origin(715_000, 5_000_000, 1000, 1000))[:6], 1)
    east, _ = centres(grid, "OGC:CRS84")
    assert (east > 0).any()
    assert (east < 0).any()
    content = {
        "type": "MultiPolygon",
        "coordinates": [[[*box(*part), box(*part)[0]]] for part in ((179.8, 40, 180, 50), (-180, 40, -179.9, 50))],
    }
    path = tmp_path / "area.json"
    path.write_text(json.dumps(content))
    assert np.array_equal(open_area(path, grid)((slice(0, 20), slice(0, 40))), (east > 179.8) | (east < -179.9))


def test_the_crs_that_a_file_names_is_heeded(tmp_path):
    path = geojson(
        tmp_path / "a.geojson", box(410_000, 4_450_000, 430_000, 4_490_000), crs="urn:ogc:def:crs:EPSG::32630"
    )
    expected = np.zeros((60, 80), bool)
    expected[10:50, 10:30] = True
    assert np.array_equal(open_area(path, GRID)(WHOLE), expected)


def test_a_raster_of_another_grid_and_crs_counts_by_the_nearest_pixel(tmp_path):
    """Nodata, 0 and what lies beyond its edge are outside."""
    values = np.full((40, 40), 7, np.uint8)
    values[:, :5], values[:5] = 0, 255
    path = tmp_path / "land.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=40, height=40, count=1, dtype="uint8", nodata=255, crs="EPSG:4326",
        transform=from_origin(-4.0, 40.6, 0.01, 0.01),
    ) as raster:  # fmt: skip
        raster.write(values, 1)
    east, north = centres(GRID, "EPSG:4326")
    inside = open_area(path, GRID)(WHOLE)
    expected = (east > -3.95) & (east < -3.6) & (north < 40.55) & (north > 40.2)
    assert (inside != expected).mean() < 0.002, "the warper approximates by an eighth of a pixel"
    assert inside.sum() > 500


def test_pixels_of_no_place_are_taken_as_they_are(tmp_path):
    grid = Grid(3, 4, "", (10, 0, 0, 0, -10, 0), 1)
    values = np.float32([[0, 1, np.nan, 0], [0, 0, 2, 0], [0, 0, 0, 0]])
    path = write(tmp_path / "area.tif", values, crs=None)
    assert np.array_equal(open_area(path, grid)((slice(0, 3), slice(0, 4))), np.nan_to_num(values) > 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: geojson(at / "a.geojson", box(10, 50, 11, 51)), r"a\.geojson covers no pixel of the scenes"),
        (
            lambda at: write(at / "a.tif", np.zeros((9, 9), np.uint8), west=400_000),
            r"a\.tif covers no pixel of the scenes",
        ),
        (
            lambda at: write(at / "a.tif", np.ones((9, 9), np.uint8), crs=None),
            r"a\.tif has no CRS, so it cannot be laid over the scenes",
        ),
        (lambda at: geojson(at / "a.geojson", kind="Polygon"), r"a\.geojson holds no polygon"),
        (
            lambda at: geojson(at / "a.json", [1, 2], kind="LineString"),
            r"it holds a LineString, which is no area.*ogr2ogr",
        ),
        (lambda at: at / "a.geojson", r"a\.geojson does not exist"),
        (lambda at: at / "a.shp", r"a\.shp does not exist"),
    ],
)
def test_an_area_that_would_fill_nothing_is_refused_in_a_line(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        open_area(make(tmp_path), GRID)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.geojson", "{", "cannot be read as an area"),
        ("a.geojson", "{}", "is no GeoJSON of polygons"),
        ("a.geojson", "[1]", "is no GeoJSON of polygons"),
        ("a.geojson", '{"type": "Polygon"}', "is no GeoJSON of polygons"),
        ("a.json", '{"type": "FeatureCollection", "features": []}', "holds no polygon"),
        ("a.gpkg", "SQLite", "cannot be read as an area"),
    ],
)
def test_a_file_that_holds_no_area_says_what_would(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name} {message}.*ogr2ogr -f GeoJSON"):
        open_area(tmp_path / name, GRID)


def test_polygons_need_scenes_with_a_place(tmp_path):
    path = geojson(tmp_path / "a.geojson", box(0, 0, 1, 1))
    with pytest.raises(DataError, match="the scenes have no CRS"):
        open_area(path, Grid(3, 4, "", (10, 0, 0, 0, -10, 0), 1))
