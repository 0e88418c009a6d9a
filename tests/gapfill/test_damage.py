"""Whatever is wrong with a scene: it is filled right, or refused in one line, and nothing is left half done."""

import os
import resource
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, Phase, given, settings

import miha
from miha.errors import MihaError
from miha.rasters.masks import ClearRule
from miha.rasters.options import ReadOptions
from tests.support.damage import CLOUD, Spec, build, specs

pytestmark = pytest.mark.filterwarnings("ignore")  # of rasterio and numpy, about what is wrong


def drawn(examples):
    """So many examples, always the same ones."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def check(spec):
    reading = ReadOptions(clear=ClearRule(**CLOUD)) if spec.quality else ReadOptions()
    with TemporaryDirectory() as folder:
        data, scene, out = build(Path(folder), spec)
        before, refused = contents(Path(folder)), None
        try:
            with room_for(spec.room):
                (filled,) = miha.fill(scene, out, data, reading=reading)
        except MihaError as error:
            refused = str(error)
        after = contents(Path(folder))
        assert before.items() <= after.items()
        if refused is None:
            assert_filled(scene, filled, clear_of(scene) if spec.quality else True)
        else:
            assert "\n" not in refused
            assert folder in refused
            assert after == before


def contents(folder):
    """What all files of a folder hold, but for locks; where a link leads."""
    files = (path for path in folder.rglob("*") if path.name != ".lock")
    return {path: os.readlink(path) if path.is_symlink() else path.read_bytes() for path in files if not path.is_dir()}


@contextmanager
def room_for(size):
    """Let no file that is written grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def clear_of(scene):
    with rasterio.open(scene.with_name(f"{scene.stem}_qc.tif")) as raster:
        return ClearRule(**CLOUD).clear(raster.read(1))


def assert_filled(scene, filled, clear=True):
    """All observed pixels are as they were, and what was filled is a number."""
    with rasterio.open(scene) as one, rasterio.open(filled) as other:
        assert (one.dtypes, one.shape, one.crs, one.transform) == (
            other.dtypes,
            other.shape,
            other.crs,
            other.transform,
        )
        assert np.array_equal([one.scales, one.offsets], [other.scales, other.offsets], equal_nan=True)
        given, found = one.read(masked=True), other.read(masked=True)
    observed = ~np.ma.getmaskarray(given) & np.isfinite(given.data) & clear
    assert np.array_equal(given.data[observed], found.data[observed])
    new = ~np.ma.getmaskarray(found) & ~observed
    assert np.isfinite(found.data[new]).all() or not np.isfinite(given.data[new]).all()


def test_what_is_drawn_is_filled_where_nothing_is_wrong(tmp_path):
    for spec in (Spec(), Spec(folder="a b", quality="whole")):
        data, scene, out = build(tmp_path / spec.folder, spec)
        reading = ReadOptions(clear=ClearRule(**CLOUD)) if spec.quality else ReadOptions()
        (filled,) = miha.fill(scene, out, data, reading=reading)
        assert_filled(scene, filled, clear_of(scene) if spec.quality else True)
        with rasterio.open(filled) as raster:
            assert np.isfinite(raster.read()).all()


@given(specs)
@drawn(100)
def test_a_scene_gone_wrong_is_filled_right_or_refused_in_one_line(spec):
    check(spec)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@given(specs)
@drawn(5000)
def test_so_are_thousands(spec):
    check(spec)
