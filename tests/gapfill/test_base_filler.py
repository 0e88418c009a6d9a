"""Filling without a model; what fillers share is in test_filler.py too."""

import shutil

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from miha.errors import DataError
from miha.events import Message, observed_by
from miha.gapfill.base import fill_base
from miha.gapfill.filler import BaseFiller
from miha.gapfill.intervals import INTERVALS
from miha.gapfill.network_filler import NetworkFiller, open_filler
from miha.gapfill.options import FillOptions
from miha.gapfill.predictors import Background, Static
from miha.rasters.scene import RANGE_TAG
from miha.rasters.stack import ReadOptions, list_rasters, read_scene
from tests.support.rasters import write
from tests.support.scenes import alter


def maps(target):
    """A filled scene, where its pixels come from, and how sure they are."""
    return [read_scene(target.with_stem(target.stem + suffix)).values for suffix in ("", "_source", "_std")]


@pytest.fixture
def source(scenes):
    """A scene with a gap of 40 %."""
    return next(path for path in list_rasters(scenes / "gapped") if path.stem.endswith("_gap40"))


def never_shown(scenes, source):
    """Let no day, and not the scene either, show the first two columns."""
    for path in [*list_rasters(scenes / "history"), source]:
        with rasterio.open(path, "r+") as raster:
            values = raster.read(1)
            values[:, :2] = raster.nodata
            raster.write(values, 1)


def test_the_base_fills_without_an_archive(scenes, source, tmp_path):
    filler = BaseFiller(scenes)
    before = filler.read(source)
    filler.fill(source, tmp_path / source.name)
    values, origin, std = maps(tmp_path / source.name)
    expected = filler.predict(before.values, filler.background(before))
    assert np.array_equal(values[~before.gaps], before.values[~before.gaps])
    assert np.allclose(values[before.gaps], expected.mean[before.gaps], atol=0.011)  # stored in steps of 0.02 K
    assert np.array_equal(origin, before.gaps)
    assert np.array_equal(std, np.where(before.gaps, expected.std, np.nan), equal_nan=True)
    assert (std[before.gaps] > 0).all()
    with rasterio.open(tmp_path / f"{source.stem}_std.tif") as raster:
        widths = {share: float(raster.tags()[f"INTERVAL_{share}"]) for share in INTERVALS}
    assert widths == pytest.approx({share: expected.intervals[share] for share in INTERVALS}, rel=1e-3)
    assert filler.unit == "K"


def test_the_base_sees_the_other_days_the_layers_and_the_scene_alone(scenes, source, tmp_path):
    day = read_scene(source)
    shutil.copy(source, scenes / "history" / f"{source.stem.partition('_')[0]}.tif")
    BaseFiller(scenes).fill(source, tmp_path / "before" / source.name)
    for path in [*list_rasters(scenes / "truth"), scenes / "history" / f"{source.stem.partition('_')[0]}.tif"]:
        alter(path)
    filler = BaseFiller(scenes)
    assert len(filler.background(day).offsets) == len(filler.history) - 1
    filler.fill(source, tmp_path / "after" / source.name)
    assert (tmp_path / "before" / source.name).read_bytes() == (tmp_path / "after" / source.name).read_bytes()


def test_without_data_a_scene_is_filled_from_itself_and_needs_no_date(source, tmp_path):
    scene = shutil.copy(source, tmp_path / "scene.tif")
    BaseFiller().fill(scene, tmp_path / "out" / "scene.tif")
    values, origin, std = maps(tmp_path / "out" / "scene.tif")
    before = read_scene(scene)
    alone = fill_base(before.values, Background.none(before.values), Static.none(before.values.shape), 0)
    assert np.allclose(values[before.gaps], alone.mean[before.gaps], atol=0.011)
    assert np.array_equal(origin, before.gaps)
    assert np.array_equal(np.isnan(std), ~before.gaps)


def test_with_data_a_scene_needs_a_date(scenes, source, tmp_path):
    scene = shutil.copy(source, tmp_path / "scene.tif")
    with pytest.raises(DataError, match=r"the date of .*scene\.tif cannot be read"):
        BaseFiller(scenes).plan([scene], tmp_path / "out")


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("static", [True, False])
def test_one_other_day_is_enough_and_none_too(scenes, source, tmp_path, others, static):
    first, *rest = list_rasters(scenes / "history")
    for path in rest:
        path.unlink()
    if not others:
        first = first.replace(first.with_name(f"{source.stem.partition('_')[0]}.tif"))
    if not static:
        shutil.rmtree(scenes / "static")
    filler = BaseFiller(scenes)
    assert len(filler.background(filler.read(source)).offsets) == others
    filler.fill(source, tmp_path / source.name, FillOptions(everywhere=True))
    assert np.isfinite(maps(tmp_path / source.name)[0]).all()


def test_the_days_help(scenes, source):
    filler, scene = BaseFiller(scenes), read_scene(source).values
    truth = read_scene(list_rasters(scenes / "truth")[0]).values
    alone = fill_base(scene, Background.none(scene), Static.none(scene.shape), 0).mean
    helped = filler.predict(scene, filler.background(read_scene(source))).mean
    errors = [np.abs(one - truth)[np.isnan(scene)].mean() for one in (alone, helped)]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_pixel_that_no_day_shows_stays_empty_unless_all_are_to_be_filled(scenes, source, tmp_path, everywhere):
    never_shown(scenes, source)
    before, events = read_scene(source), []
    unknown = np.zeros_like(before.gaps)
    unknown[:, :2] = not everywhere
    with observed_by(events.append):
        BaseFiller(scenes).fill(source, tmp_path / source.name, FillOptions(everywhere=everywhere))
    values, origin, std = maps(tmp_path / source.name)
    assert np.array_equal(np.isnan(values), unknown)
    assert np.array_equal(origin, np.where(unknown, 2, before.gaps))
    assert np.array_equal(np.isnan(std), ~before.gaps | unknown)
    left = "" if everywhere else ", 64 that no day shows left empty"
    assert events == [Message(f"{tmp_path / source.name}: {(before.gaps & ~unknown).sum()} pixels filled{left}")]


def test_pixels_that_are_too_unsure_stay_empty(scenes, source, tmp_path):
    BaseFiller(scenes).fill(source, tmp_path / "all" / source.name)
    whole, _, deviation = maps(tmp_path / "all" / source.name)
    limit, gaps, events = float(np.nanmedian(deviation)), read_scene(source).gaps, []
    with observed_by(events.append):
        BaseFiller(scenes).fill(source, tmp_path / "sure" / source.name, FillOptions(max_std=limit))
    values, origin, std = maps(tmp_path / "sure" / source.name)
    unsure = deviation > limit
    assert 0 < unsure.sum() < gaps.sum()
    assert np.array_equal(values, np.where(unsure, np.nan, whole), equal_nan=True)
    assert np.array_equal(origin, np.where(unsure, 2, gaps))
    assert np.array_equal(std, np.where(unsure, np.nan, deviation), equal_nan=True)
    assert events[0].line.endswith(f"{unsure.sum()} of a standard deviation above {limit:g} left empty")


def test_a_limit_of_zero_leaves_all_empty_and_is_reported(scenes, source, tmp_path):
    events = []
    with observed_by(events.append):
        BaseFiller(scenes).fill(source, tmp_path / source.name, FillOptions(max_std=0))
    gaps = read_scene(source).gaps
    assert np.array_equal(maps(tmp_path / source.name)[1], np.where(gaps, 2, 0))
    assert events[0].line.endswith(f": 0 pixels filled, {gaps.sum()} of a standard deviation above 0 left empty")


@pytest.mark.parametrize(("given", "limits"), [(None, (295, 296)), ((290, 297), (290, 297))])
def test_what_is_filled_keeps_to_the_range_of_the_product_unless_another_is_given(
    scenes, source, tmp_path, given, limits
):
    with rasterio.open(source, "r+") as raster:
        raster.update_tags(1, **{RANGE_TAG: "295 296"})
    events = []
    with observed_by(events.append):
        BaseFiller(scenes, ReadOptions(valid_range=given)).fill(source, tmp_path / source.name)
    values, origin, _ = maps(tmp_path / source.name)
    found = values[origin == 1]
    assert (found.min(), found.max()) == pytest.approx(limits, abs=0.011)
    assert events[0].line.endswith(" filled" if given else " filled, kept within 295 to 296 as the product says")


def test_a_range_that_is_none_is_reported(scenes, source, tmp_path):
    with rasterio.open(source, "r+") as raster:
        raster.update_tags(1, **{RANGE_TAG: "warm"})
    with pytest.raises(DataError, match="MIHA_VALID_RANGE='warm', which is no range"):
        BaseFiller(scenes).fill(source, tmp_path / source.name)


def test_a_network_keeps_to_the_same_limits(run, scenes, source, tmp_path):
    never_shown(scenes, source)
    NetworkFiller(run.model, scenes).fill(source, tmp_path / source.name, FillOptions(max_std=1.0))
    values, origin, std = maps(tmp_path / source.name)
    assert (origin[:, :2] == 2).all()
    assert np.nanmax(std) <= 1.0
    assert np.array_equal(np.isnan(values), origin == 2)
    assert np.array_equal(np.isnan(std), origin != 1)


def test_rasters_are_read_as_the_options_say(tmp_path):
    rng = np.random.default_rng(0)
    for day in range(1, 4):
        bands = np.stack([np.zeros((12, 14)), rng.normal(280, 3, (12, 14))]).astype(np.float32)
        write(tmp_path / "data" / "history" / f"lst.A202000{day}.tif", bands)
    bands[1, 3:6, 4:9] = -1
    scene = write(tmp_path / "lst.A2020009.tif", bands)
    reading = ReadOptions(band=2, nodata=-1, date_pattern="lst.A%Y%j")
    BaseFiller(tmp_path / "data", reading).fill(scene, tmp_path / "out" / scene.name)
    after = read_scene(tmp_path / "out" / scene.name, reading).values
    assert not np.isnan(after).any()
    assert np.array_equal(after[bands[1] != -1], bands[1][bands[1] != -1])


def test_cloud_is_filled_and_sea_stays(tmp_path):
    rng = np.random.default_rng(0)
    stored = rng.integers(100, 200, (12, 14)).astype(np.uint8)
    stored[3:6, 4:9], stored[:2, :2], stored[11, 13] = 252, 254, 255
    scene = write(tmp_path / "20200101.tif", stored, nodata=255)
    target, events = tmp_path / "out" / scene.name, []
    with observed_by(events.append):
        BaseFiller(reading=ReadOptions(nodata=[252], keep=[254])).fill(scene, target)
    values, origin, std = maps(target)
    cloud = (stored == 252) | (stored == 255)
    assert np.array_equal(values[~cloud], stored[~cloud])
    assert (values[cloud] < 252).all()
    assert np.array_equal(origin, np.select([stored == 254, cloud], [2, 1], 0))
    assert np.array_equal(~np.isnan(std), cloud)
    assert events == [Message(f"{target}: 16 pixels filled, 4 kept as they were")]


def test_an_undeclared_code_in_the_scene_is_refused_and_another_unit_is_reported(scenes, source, tmp_path):
    with rasterio.open(source, "r+") as raster:
        raster.nodata = None
    with pytest.raises(DataError, match=r"_gap40\.tif holds 0 in .*% of its pixels, .*--nodata 0\)"):
        BaseFiller(scenes).read(source)
    with rasterio.open(source, "r+") as raster:
        raster.nodata, raster.scales = 0, (1,)
    events = []
    with observed_by(events.append):
        BaseFiller(scenes).read(source)
    assert "filled all the same" in events[0].line
    assert "It has no scale or offset, as others have" in events[0].line
    with pytest.raises(DataError, match="its unit is another"):
        BaseFiller(scenes, ReadOptions(strict=True)).read(source)


def test_a_history_whose_first_day_cannot_be_read_fills_from_the_others(scenes, source, tmp_path, caplog):
    first = list_rasters(scenes / "history")[0]
    first.write_bytes(b"no raster")
    filler = BaseFiller(scenes)
    assert len(filler.history) == 11
    assert len(filler.static.layers) == 2
    assert first.name in caplog.text


def under_one_mask(folder, kind, name, seen):
    """A scene of three bands that one mask hides where it is not ``seen``; bright clouds are stored there."""
    rng = np.random.default_rng(len(name))
    bands = np.stack([np.where(seen, rng.normal(level, 9, seen.shape), 7777) for level in (800, 1600, 2400)])
    bands, mask = bands.astype(np.uint16), (seen * 255).astype(np.uint8)
    path = write(
        folder / name, np.concatenate([bands, 257 * mask[None].astype(np.uint16)]) if kind == "alpha" else bands
    )
    with rasterio.open(path, "r+") as raster:
        if kind == "alpha":
            raster.colorinterp = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
        else:
            raster.write_mask(mask)
    return path


@pytest.mark.parametrize("kind", ["alpha", "mask"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_all_bands_that_one_mask_hides_are_filled_or_stay_hidden(tmp_path, kind, everywhere):
    land = np.ones((16, 18), bool)
    land[:, 0] = False  # never seen
    for day in range(1, 4):
        under_one_mask(tmp_path / "data" / "history", kind, f"2020010{day}.tif", land)
    seen = land.copy()
    seen[4:9, 5:12] = False
    scene, events = under_one_mask(tmp_path, kind, "20200109.tif", seen), []
    with observed_by(events.append):
        BaseFiller(tmp_path / "data", ReadOptions(band=2)).fill(
            scene, tmp_path / "out" / scene.name, FillOptions(everywhere=everywhere)
        )
    with rasterio.open(scene) as before, rasterio.open(tmp_path / "out" / scene.name) as after:
        old, new = before.read(), after.read()
        shown = after.read_masks(1) > 0
    filled = ~seen if everywhere else ~seen & land
    assert np.array_equal(shown, seen | filled)
    assert np.array_equal(new[:, ~filled], old[:, ~filled])
    for band, level in enumerate((800, 1600, 2400)):
        assert np.abs(new[band][filled].astype(float) - level).max() < 60
    assert f"{filled.sum()} pixels filled in each of 3 bands, which share a mask" in events[0].line


def test_too_few_valid_pixels_are_reported(tmp_path):
    values = np.full((8, 8), np.nan, np.float32)
    values.flat[:31] = 280
    scene = write(tmp_path / "scene.tif", values)
    with pytest.raises(DataError, match=r"scene\.tif has 31 valid pixels; at least 32 are needed to fill it"):
        BaseFiller().fill(scene, tmp_path / "out" / "scene.tif")


def test_a_model_is_opened_with_its_data_and_none_is_the_base(run, simulated):
    assert isinstance(open_filler(run.model, simulated), NetworkFiller)
    assert isinstance(open_filler(None, simulated), BaseFiller)
    assert open_filler(None, None).history is None
    with pytest.raises(DataError, match=r"fills from the days of a data set\. Give --data"):
        open_filler(run.model, None)
