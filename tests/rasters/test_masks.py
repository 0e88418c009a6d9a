import shutil

import numpy as np
import pytest
import rasterio
from pydantic import ValidationError

from miha.errors import ConfigError, DataError
from miha.gapfill.filler import BaseFiller
from miha.gapfill.problem import GapFill
from miha.rasters.masks import ClearRule, grown
from miha.rasters.options import read_options
from miha.rasters.stack import ReadOptions, read_scene, read_stack
from tests.support.rasters import GRID, write

QUALITY = np.array([[0, 1, 2, 3], [64, 65, 66, 67], [0, 0, 0, 128]], np.float32)
GOOD = {"bits": [0, 1], "values": [0, 1]}
CLEAR = [[True, True, False, False]] * 2 + [[True] * 4]


@pytest.mark.parametrize(
    ("rule", "clear"),
    [
        (GOOD, CLEAR),
        ({"bits": [1, 0], "values": [0, 1]}, [[True, False, True, False]] * 2 + [[True] * 4]),
        ({"bits": [7], "values": [1]}, [[False] * 4, [False] * 4, [False, False, False, True]]),
        ({"values": [0, 64]}, [[True, False, False, False]] * 2 + [[True, True, True, False]]),
    ],
)
def test_bits_or_plain_values_of_a_band_say_what_is_clear(tmp_path, rule, clear):
    path = write(tmp_path / "20200101.tif", np.stack([GRID, QUALITY]))
    scene = read_scene(path, ReadOptions(clear={"band": 2, **rule}))
    assert (~scene.gaps).tolist() == clear
    assert np.array_equal(scene.values[~scene.gaps], GRID[~scene.gaps])


def test_what_a_quality_layer_does_not_know_is_not_clear():
    assert ClearRule(values=[0]).clear(np.array([[0, np.nan, 1]])).tolist() == [[True, False, False]]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("{name}_QC.tif", "LST_2020001_QC.tif"),
        ("../quality/{name}.tif", "../quality/LST_2020001.tif"),
        ("../quality/QC_{date:%Y-%m-%d}_*.tif", "../quality/QC_2020-01-01_2020.tif"),
        ("QC_{date:%Y%j}.tif", "QC_2020001.tif"),
    ],
)
def test_the_layer_may_lie_in_a_file_of_its_own_which_is_no_day(tmp_path, file, name):
    history = tmp_path / "history"
    write(history / "LST_2020001.tif", GRID)
    write(history / name, QUALITY.astype(np.uint8))
    options = ReadOptions(clear={"file": file, **GOOD})
    stack = read_stack(history, options)
    assert (~np.isnan(stack.values[0])).tolist() == CLEAR
    problem = GapFill(data=tmp_path, **options.model_dump())
    before = problem.stamp()
    write(history / name, QUALITY.astype(np.uint16))
    assert problem.stamp() != before


def test_a_day_without_its_quality_file_is_left_out(tmp_path, caplog):
    for day in (1, 2):
        write(tmp_path / f"2020010{day}.tif", GRID)
    write(tmp_path / "quality" / "20200102.tif", QUALITY)
    options = ReadOptions(clear={"file": "quality/{name}.tif", **GOOD})
    assert len(read_stack(tmp_path, options)) == 1
    assert "20200101.tif has no quality file quality/{name}.tif (problem.clear.file)" in caplog.text
    with pytest.raises(DataError, match=r"20200101\.tif has no quality file"):
        read_stack(tmp_path, options.model_copy(update={"strict": True}))


def test_a_layer_that_does_not_fit_is_reported(tmp_path):
    path = write(tmp_path / "20200101.tif", GRID)
    write(tmp_path / "20200101_QC.tif", QUALITY[:2])
    with pytest.raises(DataError, match=r"20200101_QC\.tif does not fit 20200101\.tif: its shape is 2x4, not 3x4"):
        read_scene(path, ReadOptions(clear={"file": "{name}_QC.tif", **GOOD}))
    with pytest.raises(DataError, match=r"there is no band 2\. Set problem\.clear\.band"):
        read_scene(path, ReadOptions(clear={"band": 2, **GOOD}))
    shutil.copy(path, tmp_path / "20200101_b.tif")
    with pytest.raises(DataError, match=r"20200101\.tif has several quality files .*Make problem\.clear\.file exact"):
        read_scene(path, ReadOptions(clear={"file": "{name}_*.tif", **GOOD}))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"bits": [0]}, "--clear: values: Field required"),
        ({"values": []}, "--clear: values: Tuple should have at least 1 item"),
        ({"values": [0], "bits": [64]}, "a bit lies in 0 to 62, but one is 64"),
        (
            {"values": [0], "file": "{day}.tif"},
            r"'\{day\}\.tif' may hold \{name\} and \{date:%Y%j\}, and no other braces",
        ),
        ({"values": [0], "file": "/a.tif"}, r"'/a\.tif' must start from the folder of the scene"),
        ({"values": [0], "bit": [1]}, "--clear: bit: Extra inputs are not permitted"),
    ],
)
def test_a_rule_that_cannot_be_is_reported(rule, reason):
    with pytest.raises(ConfigError, match=reason):
        read_options(clear=rule)
    with pytest.raises(ValidationError):
        GapFill(clear=rule)


def test_gaps_grow_in_all_directions_and_not_what_is_kept(tmp_path):
    missing = np.zeros((5, 6), bool)
    missing[0, 0] = True
    assert np.argwhere(grown(missing, 1)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert grown(missing, 2).sum() == 9
    values = np.full((5, 6), 280, np.float32)
    values[0, 0], values[4, 4] = -1, -2
    scene = read_scene(write(tmp_path / "20200101.tif", values), ReadOptions(nodata=-1, keep=-2, grow=1))
    assert np.argwhere(scene.gaps).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [4, 4]]
    assert np.argwhere(scene.kept).tolist() == [[4, 4]]


def test_a_rim_that_quality_tells_is_filled_and_the_layer_stays(tmp_path):
    rng = np.random.default_rng(0)
    quality = np.zeros((16, 18), np.float32)
    quality[4:9, 5:12], quality[5:8, 6:11] = 65, 2
    values = np.select([quality == 65, quality == 2], [265, 0], rng.normal(290, 1, quality.shape)).astype(np.float32)
    scene, target = write(tmp_path / "20200101.tif", np.stack([values, quality])), tmp_path / "out" / "20200101.tif"
    BaseFiller(reading=ReadOptions(clear={"band": 2, "bits": [0, 1], "values": [0]})).fill(scene, target)
    with rasterio.open(target) as raster:
        filled, layer = raster.read()
    assert np.array_equal(layer, quality)
    assert np.array_equal(filled[quality == 0], values[quality == 0])
    assert np.abs(filled[quality > 0] - 290).max() < 5
