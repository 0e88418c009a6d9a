import numpy as np
import pytest
import rasterio

from miha.errors import DataError
from miha.gapfill.predictors import Background
from miha.rasters.simulate import GAP_SIZES, simulate
from miha.rasters.stack import list_rasters, read_scene, read_stack


def test_a_simulated_set_has_the_folders_of_any_data_set(simulated):
    stack = read_stack(simulated / "history")
    assert len(list_rasters(simulated / "history")) == 12
    assert stack.grid.height == stack.grid.width == 32
    assert stack.unit == "K"
    assert {path.stem for path in list_rasters(simulated / "static")} == {"elevation", "landcover"}
    assert len(list_rasters(simulated / "truth")) == 1
    assert len(list_rasters(simulated / "gapped")) == len(GAP_SIZES)


def test_the_held_out_day_is_not_in_the_history(simulated):
    held_out = {path.stem for path in list_rasters(simulated / "truth")}
    assert held_out.isdisjoint(path.stem for path in list_rasters(simulated / "history"))


def test_gaps_are_as_large_as_they_say_and_show_the_truth_elsewhere(simulated):
    truth = read_scene(list_rasters(simulated / "truth")[0]).values
    for path in list_rasters(simulated / "gapped"):
        scene = read_scene(path)
        assert scene.gaps.mean() == pytest.approx(int(path.stem[-2:]) / 100, abs=0.01)
        assert np.array_equal(scene.values[~scene.gaps], truth[~scene.gaps])


def test_every_temperature_raster_says_that_it_is_simulated(simulated):
    assert read_stack(simulated / "history").simulated
    with rasterio.open(list_rasters(simulated / "truth")[0]) as raster:
        assert raster.tags()["MIHA_SIMULATED"] == "seed 3"


def test_equal_arguments_give_equal_files_and_another_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(tmp_path / name, days=6, height=32, width=40, seed=seed)
    files = {name: [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.tif"))] for name in "abc"}
    assert files["a"] == files["b"] != files["c"]


def test_a_day_resembles_the_level_of_the_others_and_has_weather_of_its_own(simulated):
    """Otherwise gaps could not be filled, or would be too easy."""
    stack = read_stack(simulated / "history")
    background = Background.of(stack.values)
    total, left = np.nanstd(stack.values), np.nanstd(background.anomalies)
    assert 0.5 < left < 0.7 * total


@pytest.mark.parametrize(
    ("size", "message"),
    [((5, 32, 32), "--days must be at least 6 but is 5"), ((6, 31, 32), "--height"), ((6, 32, 0), "--width")],
)
def test_sizes_too_small_are_refused(tmp_path, size, message):
    with pytest.raises(DataError, match=message):
        simulate(tmp_path / "out", *size, seed=0)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="was not written by MIHA"):
        simulate(tmp_path, days=6, height=32, width=32, seed=0)
    assert (tmp_path / "letter.txt").read_text() == "dear"
