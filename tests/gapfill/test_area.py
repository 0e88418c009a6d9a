"""Filling only inside of an area: there as without one, and everything else as it was."""

import json
from contextlib import nullcontext
from datetime import date

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_geom

import miha
from miha.errors import ConfigError, DataError
from miha.events import Message, observed_by
from miha.gapfill.filler import BaseFiller
from miha.gapfill.made import Made, write_made
from miha.gapfill.options import FillOptions
from miha.gapfill.process import Posterior
from miha.gapfill.series import Series, days_of, fill_series
from miha.rasters import stack as stacks
from miha.rasters.scene import read_scene
from miha.rasters.stack import ReadOptions, list_rasters
from miha.rasters.writing import sidecars_of


@pytest.fixture(scope="module")
def area(simulated, tmp_path_factory):
    """The left half of the simulated scenes, as a polygon in degrees; and which pixels lie in it."""
    with rasterio.open(list_rasters(simulated / "history")[0]) as raster:
        west, south, east, north = raster.bounds
        middle = (west + east) / 2
        ring = [(west, south), (middle, south), (middle, north), (west, north), (west, south)]
        geometry = transform_geom(raster.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]})
        path = tmp_path_factory.mktemp("area") / "area.geojson"
        path.write_text(json.dumps(geometry))
        return path, np.broadcast_to(np.arange(raster.width) < raster.width // 2, raster.shape)


def compare(whole, part, inside, gaps):
    """Inside as in the whole fill, outside as in the scene."""
    for one, other in zip((whole, *sidecars_of(whole)), (part, *sidecars_of(part)), strict=True):
        full, cut = (read_scene(path).values for path in (one, other))
        assert np.array_equal(cut[inside | ~gaps], full[inside | ~gaps], equal_nan=True)
    assert np.isnan(read_scene(part).values)[gaps & ~inside].all()
    with rasterio.open(sidecars_of(part)[0]) as raster:
        assert (raster.read(1)[gaps & ~inside] == 2).all()


@pytest.mark.parametrize("opened", [False, True])
def test_a_scene_is_filled_inside_alone_also_where_its_history_is_not_read(
    simulated, area, tmp_path, opened, monkeypatch
):
    if opened:
        monkeypatch.setattr(stacks, "IN_MEMORY", 0)
    path, inside = area
    data = tmp_path / "data"
    data.symlink_to(simulated)  # a history that this process did not read before
    source, events = list_rasters(simulated / "gapped")[2], []
    filler = BaseFiller(data)
    assert filler.opened == opened
    (whole,) = filler.fill_all([source], tmp_path / "whole")
    with observed_by(events.append):
        (part,) = filler.fill_all([source], tmp_path / "part", FillOptions(area=path))
    gaps = np.isnan(read_scene(source).values)
    compare(whole, part, inside, gaps)
    (line,) = [event.line for event in events if isinstance(event, Message)]
    assert f"{(gaps & inside).sum()} pixels filled, {(gaps & ~inside).sum()} outside the area left as they were" in line


@pytest.mark.parametrize("method", ["base", "eof"])
def test_a_series_is_filled_inside_alone_and_keeps_to_its_area(simulated, area, tmp_path, method):
    path, inside = area
    span = {"data": simulated, "method": method, "first": date(2021, 5, 2), "last": date(2021, 5, 3)}
    whole = Series(out=tmp_path / "whole", **span)
    part = Series(out=tmp_path / "part", options=FillOptions(area=path), **span)
    for series in (whole, part):
        assert fill_series(series, nullcontext()) == {}
    for one, other in zip(days_of(whole), days_of(part), strict=True):
        compare(one.target, other.target, inside, np.isnan(read_scene(one.source).values))
    with pytest.raises(ConfigError, match="filled with other settings"):
        fill_series(Series(out=tmp_path / "part", **span), nullcontext())


def test_an_area_elsewhere_is_refused_before_anything_is_written(simulated, tmp_path):
    sea = {"type": "Polygon", "coordinates": [[(-30, 0), (-29, 0), (-29, 1), (-30, 0)]]}
    (tmp_path / "sea.json").write_text(json.dumps(sea))
    with pytest.raises(DataError, match=r"sea\.json covers no pixel of the scenes"):
        miha.fill(list_rasters(simulated / "gapped"), tmp_path / "out", data=simulated, area=tmp_path / "sea.json")
    assert not (tmp_path / "out").exists()


def test_nothing_is_computed_outside_of_the_box_around_an_area(simulated, area, tmp_path):
    path, inside = area
    source, asked = list_rasters(simulated / "gapped")[2], []
    scene = read_scene(source)

    def fill(where):
        asked.append(where)
        shape = tuple(part.stop - part.start for part in where)
        return Posterior(np.full(shape, 290, np.float32), np.ones(shape, np.float32))

    made = Made(lambda where: (scene.values[where], scene.kept[where]), fill)
    options = FillOptions(area=path)
    write_made(
        made, source, tmp_path / source.name, ReadOptions(), lambda where: np.zeros((1, 1), bool), {}, options, None
    )
    assert asked == [(slice(0, inside.shape[0]), slice(0, inside.shape[1] // 2))]
    found = read_scene(tmp_path / source.name).values
    assert np.array_equal(np.isnan(found), scene.gaps & ~inside)
