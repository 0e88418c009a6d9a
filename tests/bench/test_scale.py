import numpy as np
import pytest

from bench.cube import linear, measure_cube, whittaker
from bench.stacks import stack
from miha.rasters.stack import list_rasters, read_scene


def test_the_held_out_scene_is_the_same_whatever_the_number_of_days(tmp_path):
    short, long = (stack(tmp_path / str(days), days, 40) for days in (6, 20))
    for folder in ("truth", "gapped", "static"):
        one, other = (list_rasters(data / folder)[0] for data in (short, long))
        assert np.allclose(read_scene(one).values, read_scene(other).values, atol=0.1, equal_nan=True)
    assert len(list_rasters(long / "history")) == 20


def test_a_larger_stack_is_mirrored_and_has_noise_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.stacks.TILE", 40)
    (path,) = list_rasters(stack(tmp_path / "large", 6, 70) / "truth")
    values = read_scene(path).values
    difference = values[:, 40:] - values[:, 39:9:-1]
    assert 0.1 < difference.std() < 0.6


def test_linear_interpolation_in_time_skips_clouds():
    series = np.array([1, np.nan, np.nan, 4, 9], np.float32)[:, None, None]
    assert linear(series)[1, 0, 0] == 2


def test_whittakers_smoother_solves_its_equations():
    rng = np.random.default_rng(0)
    series = rng.normal(280, 3, (12, 2, 3)).astype(np.float32)
    series[rng.random(series.shape) < 0.3] = np.nan
    series[5] = np.nan
    differences = np.diff(np.eye(12), 2, axis=0)
    weights = (~np.isnan(series[:, 1, 2])).astype(float)
    known = np.nan_to_num(series[:, 1, 2])
    expected = np.linalg.solve(np.diag(weights) + 10 * differences.T @ differences, weights * known)[5]
    assert abs(whittaker(series)[5, 1, 2] - expected) < 0.05


@pytest.mark.slow
def test_a_few_days_tell_what_the_base_costs_for_all(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.cube.RUNS", tmp_path)
    measured = measure_cube("base", 12, 40)
    assert measured["days"] == 4
    assert measured["cpu"] == pytest.approx(2 * measured["seconds"])
    assert measured["speed"] == pytest.approx(13 * 40**2 / measured["seconds"] / 1e6)
    assert not list((tmp_path / "scale" / "out").glob("cube_*"))


@pytest.mark.slow
def test_a_network_fills_a_few_days_in_more_time_than_the_base(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.cube.RUNS", tmp_path)
    base, network = (measure_cube(method, 12, 64) for method in ("base", "network"))
    assert network["days"] == base["days"]
    assert network["cpu"] > base["cpu"]
