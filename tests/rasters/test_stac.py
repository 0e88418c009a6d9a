"""STAC items of filled scenes, as pystac reads them."""

import json
from datetime import UTC, date, datetime

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint

from miha.errors import DataError
from tests.support.rasters import filled, write

pystac = pytest.importorskip("pystac", reason="needs the extra stac")
from miha.rasters.stac import write_collection, write_item  # noqa: E402
from miha.rasters.stac_files import check_replaceable  # noqa: E402

VALUES = np.uint16([[0, 300, 310, 320], [330, 340, 350, 360], [370, 380, 0, 400]])


@pytest.fixture
def scene(tmp_path):
    """Three rows of four pixels of 10 m at the equator, of which two are filled with 280.5 K."""
    path = write(tmp_path / "in/20210501.tif", VALUES, nodata=0, scale=0.5, offset=130)
    filled(path, tmp_path / "out", 280.5)
    return tmp_path / "out/20210501.tif"


def core(item):
    """The same without extensions, whose schemas pystac would fetch from the web."""
    content = item.to_dict()
    return type(item).from_dict({**content, "stac_extensions": []})


def test_an_item_tells_place_day_grid_and_files(scene):
    item = pystac.Item.from_file(write_item(scene, date(2021, 5, 1)))
    core(item).validate()
    assert (item.id, item.datetime) == ("20210501", datetime(2021, 5, 1, tzinfo=UTC))
    west, south, east, north = item.bbox
    assert (west, east) == pytest.approx((-7.4887, -7.4883), abs=1e-4)
    assert (south, north) == pytest.approx((-0.00027, 0), abs=1e-5)
    ring = np.array(item.geometry["coordinates"][0])
    assert np.allclose([*ring.min(axis=0), *ring.max(axis=0)], item.bbox, atol=1e-6)
    assert item.ext.proj.epsg == 32630
    assert item.ext.proj.shape == [3, 4]
    assert item.ext.proj.transform == [10, 0, 0, 0, -10, 0]
    assert {name: asset.roles for name, asset in item.assets.items()} == {
        "data": ["data"], "std": ["metadata", "uncertainty"], "source": ["metadata", "data-mask"],
    }  # fmt: skip
    for asset in item.assets.values():
        assert not asset.href.startswith("/")
        with rasterio.open(asset.get_absolute_href()) as raster:
            assert raster.shape == (3, 4)
    assert [one.name for one in item.assets["source"].ext.classification.classes] == ["observed", "filled", "left"]


FOREIGN = [
    "{}",
    "no JSON",
    '["stac_version"]',
    '{"type": "Feature", "stac_version": "1.0.0", "assets": {"B04": {}}}',
    '{"type": "FeatureCollection", "features": []}',
]


@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_of_the_users_stays_where_an_item_or_a_collection_would_lie(scene, content):
    for path, write_it in [
        (scene.with_suffix(".json"), lambda: write_item(scene, date(2021, 5, 1))),
        (scene.parent / "collection.json", lambda: check_replaceable([scene], collection=True)),
    ]:
        path.write_text(content)
        with pytest.raises(DataError, match=rf"{path} exists and was not written by MIHA.*\. Rename it, or choose"):
            write_it()
        filled(scene.parents[1] / "in/20210501.tif", scene.parent, 290)
        assert path.read_text() == content
        path.unlink()


def test_what_miha_wrote_is_written_anew(scene):
    write_item(scene, date(2021, 5, 1))
    write_collection(scene.parent, "scenes")
    check_replaceable([scene], collection=True)
    assert pystac.Item.from_file(write_item(scene, date(2021, 5, 2))).datetime.day == 2


def test_a_scene_that_is_filled_anew_loses_the_item_of_the_former_one_but_no_other_file(scene, tmp_path):
    item, other = write_item(scene, date(2021, 5, 1)), tmp_path / "out/20210502.json"
    other.write_text("{}")
    for name in ("20210501.tif", "20210502.tif"):
        filled(write(tmp_path / "in" / name, VALUES, nodata=0), tmp_path / "out", 300)
    assert not item.exists()
    assert other.read_text() == "{}"


def test_bands_tell_scale_unit_and_what_numbers_there_are(scene):
    item = pystac.Item.from_file(write_item(scene, date(2021, 5, 1)))
    band, deviation = (item.assets[name].ext.raster.bands[0] for name in ("data", "std"))
    assert (band.nodata, band.unit, band.scale, band.offset, band.data_type) == (0, "K", 0.5, 130, "uint16")
    with rasterio.open(scene) as raster:
        stored = raster.read(1).astype(float)
    found = band.statistics
    assert (found.minimum, found.maximum, found.valid_percent) == (stored.min(), stored.max(), 100)
    assert (found.mean, found.stddev) == (pytest.approx(stored.mean()), pytest.approx(stored.std()))
    assert deviation.nodata == "nan"
    assert deviation.statistics.valid_percent == pytest.approx(100 * 2 / 12)
    again = scene.with_suffix(".json").read_bytes()
    assert write_item(scene, date(2021, 5, 1)).read_bytes() == again


def test_a_collection_leads_to_every_item_and_back(scene, tmp_path):
    source = write(tmp_path / "in/20210511.tif", VALUES, nodata=0, west=5000)
    filled(source, tmp_path / "out", 300)
    write_collection(scene.parent, "scenes")
    for day, name in ((1, "20210501"), (11, "20210511")):
        write_item(scene.parent / f"{name}.tif", date(2021, 5, day))
    collection = pystac.Collection.from_file(write_collection(scene.parent, "scenes"))
    core(collection).validate()
    items = list(collection.get_items())
    assert [item.id for item in items] == ["20210501", "20210511"]
    assert all(item.get_collection().id == collection.id == item.collection_id == "out" for item in items)
    (box,), ((first, last),) = collection.extent.spatial.bboxes, collection.extent.temporal.intervals
    assert box[0] == items[0].bbox[0]
    assert box[2] == items[1].bbox[2]
    assert (first.day, last.day) == (1, 11)
    assert "/" not in "".join(
        link["href"].removeprefix("./") for link in json.loads((scene.parent / "collection.json").read_text())["links"]
    )


def test_a_scene_by_control_points_lies_where_they_do_and_one_without_a_place_nowhere(tmp_path):
    path = write(tmp_path / "in/20210501.tif", VALUES, nodata=0, crs=None)
    corners = [(0, 0, -3.0, 40.0), (0, 4, -2.0, 40.0), (3, 0, -3.0, 39.0)]
    with rasterio.open(path, "r+") as raster:
        raster.gcps = [GroundControlPoint(*corner) for corner in corners], rasterio.CRS.from_epsg(4326)
    filled(path, tmp_path / "out", 300)
    item = pystac.Item.from_file(write_item(tmp_path / "out/20210501.tif", date(2021, 5, 1)))
    assert item.bbox == [-3, 39, -2, 40]
    nowhere = write(tmp_path / "in/20210502.tif", VALUES, nodata=0, crs=None)
    filled(nowhere, tmp_path / "out", 300)
    item = pystac.Item.from_file(write_item(tmp_path / "out/20210502.tif", date(2021, 5, 2)))
    core(item).validate()
    assert (item.geometry, item.bbox) == (None, None)


def test_a_grid_that_no_authority_named_is_told_in_words(tmp_path):
    crs = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m"
    filled(write(tmp_path / "in/20210501.tif", VALUES, nodata=0, crs=crs), tmp_path / "out", 300)
    item = pystac.Item.from_file(write_item(tmp_path / "out/20210501.tif", date(2021, 5, 1)))
    assert item.ext.proj.epsg is None
    assert "Sinusoidal" in item.ext.proj.wkt2


def test_a_scene_that_cannot_be_read_is_named(scene):
    scene.write_text("no raster")
    with pytest.raises(DataError, match=r"20210501\.tif cannot be described: .* Fill it anew"):
        write_item(scene, date(2021, 5, 1))
