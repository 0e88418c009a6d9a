import shutil

import numpy as np
import pytest
import rasterio

import miha
from miha.errors import DataError
from miha.gapfill.base import fill_base
from miha.gapfill.filler import BaseFiller
from miha.gapfill.history import MOST_DAYS, bounded, weighed
from miha.gapfill.network_filler import NetworkFiller, open_filler
from miha.gapfill.predictors import Background, Static
from miha.rasters.stack import list_rasters, read_date, read_scene


def gapped(days):
    scene = days[0].copy()
    scene[5:12, 6:15] = np.nan
    return scene, np.isnan(scene)


def test_filling_from_python_writes_what_the_command_writes(simulated, tmp_path):
    source = list_rasters(simulated / "gapped")[2]
    (written,) = miha.fill(str(source), tmp_path / "a", data=simulated)
    (expected,) = open_filler(None, simulated).fill_all([source], tmp_path / "b")
    assert np.array_equal(read_scene(written).values, read_scene(expected).values)


def test_an_array_is_filled_from_other_days_better_than_from_itself(days):
    scene, gaps = gapped(days)
    errors = []
    for others in (days[1:], None):
        values, std = miha.fill_array(scene, others)
        assert np.array_equal(values[~gaps], scene[~gaps])
        assert np.array_equal(np.isnan(std), ~gaps)
        errors.append(np.abs(values - days[0])[gaps].mean())
    assert errors[0] < errors[1]


def test_a_data_array_comes_back_as_one(days):
    xarray = pytest.importorskip("xarray")
    scene, _ = gapped(days)
    given = xarray.DataArray(scene, dims=("y", "x"), coords={"y": np.arange(20.0)})
    filled = miha.fill_array(given, xarray.DataArray(days[1:], dims=("time", "y", "x")))
    assert filled.values.dims == ("y", "x")
    assert filled.values.equals(given.copy(data=miha.fill_array(scene, days[1:]).values))
    assert filled.std.y.equals(given.y)


@pytest.mark.parametrize(
    ("scene", "others", "reason"),
    [
        (np.zeros(5), None, "has two axes"),
        (np.full((20, 24), np.nan), None, "0 observed pixels"),
        (np.zeros((20, 24)), np.zeros((3, 24, 20)), r"must be \(days, 20, 24\)"),
    ],
)
def test_arrays_that_do_not_fit_are_reported(scene, others, reason):
    with pytest.raises(DataError, match=reason):
        miha.fill_array(scene, others)


def test_of_many_days_a_choice_fills_an_array(days):
    scene, gaps = gapped(days)
    many = np.concatenate([days[1:] + np.float32(0.01 * number) for number in range(8)])
    assert len(many) > MOST_DAYS
    days_apart = np.concatenate([np.arange(-20, 0), np.arange(1, len(many) - 19)])
    expected = fill_base(
        scene, bounded(weighed(Background.of(many), days_apart), scene, days_apart), Static.none(scene.shape), 0
    )
    filled = miha.fill_array(scene, many, before=20)
    assert np.array_equal(filled.values[gaps], expected.mean[gaps])
    assert not np.array_equal(filled.values, miha.fill_array(scene, many).values)


def test_a_scene_has_an_item_beside_it_if_its_day_can_be_told(simulated, tmp_path):
    pystac = pytest.importorskip("pystac", reason="needs the extra stac")
    source = list_rasters(simulated / "gapped")[0]
    (written,) = miha.fill(source, tmp_path / "out", data=simulated, stac=True)
    item = pystac.Item.from_file(written.with_suffix(".json"))
    assert item.datetime.date() == read_date(source)
    assert item.get_links("collection") == []
    nameless = tmp_path / "scene.tif"
    shutil.copy(source, nameless)
    with rasterio.open(nameless, "r+") as raster:
        raster.update_tags(TIFFTAG_DATETIME="")
    with pytest.raises(DataError, match=r"scene\.tif"):
        miha.fill([source, nameless], tmp_path / "other", stac=True)
    assert not (tmp_path / "other").exists()


def test_a_file_in_the_place_of_an_item_is_named_before_anything_is_filled(simulated, tmp_path):
    pytest.importorskip("pystac", reason="needs the extra stac")
    source, out = list_rasters(simulated / "gapped")[0], tmp_path / "out"
    out.mkdir()
    (out / f"{source.stem}.json").write_text('{"my": "notes"}')
    with pytest.raises(DataError, match=rf"{source.stem}\.json exists and was not written by MIHA"):
        miha.fill(source, out, data=simulated, stac=True)
    assert [path.name for path in out.iterdir() if path.name != ".lock"] == [f"{source.stem}.json"]
    miha.fill(source, out, data=simulated)
    assert (out / f"{source.stem}.json").read_text() == '{"my": "notes"}'


def test_fillers_take_paths_as_text(run, simulated, tmp_path):
    source = list_rasters(simulated / "gapped")[0]
    for name, filler in [
        ("base", BaseFiller(str(simulated))),
        ("network", NetworkFiller(str(run.model), str(simulated))),
    ]:
        (written,) = filler.fill_all([str(source)], str(tmp_path / name))
        assert not np.isnan(read_scene(written).values).all()
