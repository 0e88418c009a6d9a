import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint

from miha.errors import DataError
from miha.gapfill.predictors import Background, analogues, read_static
from miha.rasters.stack import read_scene
from tests.support.rasters import write


def test_level_and_offsets_are_recovered_from_days_with_gaps():
    rng = np.random.default_rng(1)
    pattern, offsets = rng.random((20, 24)) * 10, rng.normal(0, 5, 10)
    values = (pattern + offsets[:, None, None]).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    background = Background.of(values, rounds=50)
    difference = background.level - pattern
    assert np.ptp(difference) < 0.01
    assert np.nanmax(np.abs(background.anomalies)) < 0.01
    assert np.abs(background.filled - (pattern + offsets[:, None, None])).max() < 0.02


def test_a_pixel_that_no_day_shows_takes_its_nearest_neighbours_level(days):
    days[:, 5, 5] = np.nan
    background = Background.of(days)
    assert np.isfinite(background.level).all()
    assert background.level[5, 5] in background.level[[4, 6, 5, 5], [5, 5, 4, 6]]


def test_the_most_similar_days_come_first_and_the_last_repeats():
    rng = np.random.default_rng(0)
    ours = rng.normal(size=(20, 24)).astype(np.float32)
    anomalies = np.stack([-ours, ours + rng.normal(size=ours.shape), ours, np.full_like(ours, np.nan)]).astype(
        np.float32
    )
    background = Background(np.zeros_like(ours), np.zeros(4, np.float32), anomalies, np.ones(4, np.float32))
    assert analogues(ours, background, 2).tolist() == [2, 1]
    assert analogues(ours, background, 6).tolist() == [2, 1, 0, 3, 3, 3]


def test_integer_layers_with_few_values_are_classes_and_others_continuous(tmp_path):
    elevation = np.arange(480, dtype=np.int16).reshape(20, 24)
    cover = (elevation // 100).astype(np.uint8)
    write(tmp_path / "static" / "elevation.tif", elevation, unit="m")
    write(tmp_path / "static" / "cover.tif", cover, unit="")
    grid = read_scene(write(tmp_path / "20200101.tif", elevation.astype(np.float32))).grid
    static = read_static(tmp_path / "static", grid)
    assert [(layer.name, layer.codes is None) for layer in static.layers] == [("cover", False), ("elevation", True)]
    assert static.continuous.mean() == pytest.approx(0, abs=1e-6)
    assert static.continuous.std() == pytest.approx(1, rel=1e-5)
    assert static.one_hot.sum(axis=0).min() == 1


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_of_static_layers_of_scenes_that_lie_by_control_points_the_shape_alone_is_compared(tmp_path):
    path = write(tmp_path / "20200101.tif", np.zeros((20, 24), np.float32), crs=None)
    with rasterio.open(path, "r+") as raster:
        raster.gcps = [GroundControlPoint(*at) for at in [(0, 0, 5, 50), (0, 24, 6, 50)]], rasterio.CRS.from_epsg(4326)
    grid = read_scene(path).grid
    write(tmp_path / "static" / "elevation.tif", np.arange(480, dtype=np.float32).reshape(20, 24))
    assert [layer.name for layer in read_static(tmp_path / "static", grid).layers] == ["elevation"]
    write(tmp_path / "static" / "elevation.tif", np.zeros((10, 24), np.float32))
    with pytest.raises(DataError, match=r"elevation\.tif does not fit the scenes: its shape is 10x24, not 20x24"):
        read_static(tmp_path / "static", grid)


def test_static_layers_are_optional_but_must_lie_on_the_grid(tmp_path):
    grid = read_scene(write(tmp_path / "20200101.tif", np.zeros((20, 24), np.float32))).grid
    assert read_static(tmp_path / "static", grid).layers == ()
    write(tmp_path / "static" / "elevation.tif", np.zeros((10, 24), np.float32))
    with pytest.raises(DataError, match=r"elevation\.tif does not fit the scenes: its shape is 10x24, not 20x24"):
        read_static(tmp_path / "static", grid)
