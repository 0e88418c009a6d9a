"""Whatever is wrong with a scene: it is filled right, or refused in one line, and nothing is left half done."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, Phase, given, settings

import miha
from miha.errors import MihaError
from tests.support.damage import DAYS, Spec, specs, write

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
    with TemporaryDirectory() as folder:
        data, out = Path(folder) / "data", Path(folder) / "out"
        (data / "history").mkdir(parents=True)
        for day in DAYS:
            write(data / "history" / f"{day}.tif", Spec(gap=False))
        scene = Path(folder) / spec.name
        write(scene, spec)
        if spec.in_history:
            write(data / "history" / spec.name, spec)
        before, refused = scene.read_bytes(), None
        try:
            (filled,) = miha.fill(scene, out, data)
        except MihaError as error:
            refused = str(error)
        assert scene.read_bytes() == before
        if refused is None:
            assert_filled(scene, filled)
        else:
            assert "\n" not in refused
            assert folder in refused
            assert not out.exists() or [path for path in out.rglob("*") if path.name != ".lock"] == []


def assert_filled(scene, filled):
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
    observed = ~np.ma.getmaskarray(given) & np.isfinite(given.data)
    assert np.array_equal(given.data[observed], found.data[observed])
    new = ~np.ma.getmaskarray(found) & ~observed
    assert np.isfinite(found.data[new]).all() or not np.isfinite(given.data[new]).all()


def test_what_is_drawn_is_filled_where_nothing_is_wrong(tmp_path):
    for day in DAYS:
        (tmp_path / "data" / "history").mkdir(parents=True, exist_ok=True)
        write(tmp_path / "data" / "history" / f"{day}.tif", Spec(gap=False))
    write(tmp_path / "20210504.tif", Spec())
    (filled,) = miha.fill(tmp_path / "20210504.tif", tmp_path / "out", tmp_path / "data")
    assert_filled(tmp_path / "20210504.tif", filled)
    with rasterio.open(filled) as raster:
        assert np.isfinite(raster.read()).all()


@given(specs)
@drawn(300)
def test_a_scene_gone_wrong_is_filled_right_or_refused_in_one_line(spec):
    check(spec)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@given(specs)
@drawn(5000)
def test_so_are_thousands(spec):
    check(spec)
