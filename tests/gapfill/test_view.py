import numpy as np
import pytest

from miha.gapfill import view
from miha.gapfill.base import Base, fill_base
from miha.gapfill.history import background_of
from miha.gapfill.predictors import StaticFiles, read_static
from miha.gapfill.view import Arrays, Opened
from miha.rasters import stack
from miha.rasters.opened import OpenDays, OpenScene
from miha.rasters.stack import ReadOptions, list_rasters, read_date, read_scene, read_stack


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(view, "TILE", 16)


@pytest.fixture
def source(simulated):
    return list_rasters(simulated / "gapped")[3]


@pytest.fixture
def opened(simulated, source, monkeypatch):
    return open_view(simulated, source, monkeypatch)


def open_view(simulated, source, monkeypatch):
    """The scene and its history as files."""
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    history, when = read_stack(simulated / "history"), read_date(source)
    shape = history.grid.height, history.grid.width
    static = StaticFiles(simulated / "static", history.grid)
    return Opened(OpenScene(source, ReadOptions(), shape), history.without(when), when, static)


def whole(shape):
    return slice(0, shape[0]), slice(0, shape[1])


@pytest.fixture
def expected(simulated, source):
    """The whole scene, filled at once."""
    history, scene = read_stack(simulated / "history"), read_scene(source).values
    static = read_static(simulated / "static", history.grid)
    background = background_of(scene, history, read_date(source))
    return scene, background, static, fill_base(scene, background, static, 0)


def test_tiles_of_arrays_and_of_files_get_what_the_whole_scene_gets(expected, opened, small_tiles):
    scene, background, static, filled = expected
    gap = np.isnan(scene)
    for one in (Arrays(scene, background, static), opened):
        assert len(list(one.tiles())) > 1
        tiled = Base(one, 0).fill(whole(scene.shape))
        assert np.abs(tiled.mean - filled.mean)[gap].max() < 1e-4
        assert np.abs(tiled.std - filled.std)[gap].max() < 1e-4
        assert np.array_equal(tiled.mean[~gap], scene[~gap])


def test_a_history_too_large_for_memory_is_opened_and_indexed_like_an_array(simulated, opened):
    held, files = read_stack(simulated / "history").values, opened.history
    assert isinstance(files, OpenDays)
    assert files.shape == held.shape
    assert np.array_equal(files[:, 3:9, 5:50], held[:, 3:9, 5:50], equal_nan=True)
    assert np.array_equal(files[2], held[2], equal_nan=True)
    assert np.array_equal(np.asarray(files[[1, 4]]), held[[1, 4]], equal_nan=True)


@pytest.mark.parametrize("shape", [(70, 40), (33, 65)])
def test_tiles_cover_each_pixel_once_and_are_smaller_where_days_are_many(shape):
    for days in (1, 2000):
        counted = np.zeros(shape, int)
        for tile in view.tiles_of(whole(shape), days):
            counted[tile] += 1
        assert (counted == 1).all()
    wide = list(view.tiles_of(whole((300, 300)), 30))
    assert len(wide) < len(list(view.tiles_of(whole((300, 300)), 1000)))


@pytest.mark.parametrize("days", [30, 60, 365, 1000])
def test_tiles_of_whole_blocks_of_a_file_are_those_of_the_whole_scene(days):
    of_scene = {(rows.start, columns.start) for rows, columns in view.tiles_of(whole((1200, 1200)), days)}
    below = slice(512, 1024), slice(0, 1200)
    assert {(rows.start, columns.start) for rows, columns in view.tiles_of(below, days)} <= of_scene


@pytest.mark.parametrize(("kept", "same"), [(10**6, True), (0, False)])
def test_tiles_of_a_moderate_scene_are_read_once(simulated, source, small_tiles, monkeypatch, kept, same):
    monkeypatch.setattr(view, "KEPT", kept)
    opened = open_view(simulated, source, monkeypatch)
    first, second = list(opened.tiles())[:2]
    tile, _ = opened.tile(first), opened.tile(second)
    assert (opened.tile(first) is tile) == same


def test_windows_of_a_scene_with_growing_gaps_are_those_of_the_whole(source):
    options = ReadOptions(grow=3)
    scene = read_scene(source, options)
    part = OpenScene(source, options, scene.values.shape)[10:30, 20:44]
    assert np.array_equal(part, scene.values[10:30, 20:44], equal_nan=True)
