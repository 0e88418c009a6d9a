"""From a download to filled scenes by the command line alone."""

import sys

import numpy as np
import pytest

from flows.cli import main
from miha.rasters.stack import read_scene
from tests.support.downloads import mod11a1


@pytest.fixture
def call(capsys, monkeypatch):
    """Call the command line as the installed script does: its exit code, what it says, and its errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["miha", *map(str, words)])
        try:
            code = main() or 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_prepared_download_is_filled_with_no_further_options(call, tmp_path):
    mod11a1(tmp_path / "raw", days=7, size=32, clouds=0.3)
    code, output, errors = call("prepare", tmp_path / "raw", "--product", "mod11a1", "--out", tmp_path / "data")
    assert code == 0, errors
    assert "mod11a1 LST_Day_1km: 7 days of 32x32 pixels, 2020-07-03 to 2020-07-09" in output
    scene = tmp_path / "data" / "history" / "2020-07-05.tif"
    code, _, errors = call("fill", scene, "--data", tmp_path / "data", "--out", tmp_path / "filled")
    assert code == 0, errors
    before, after = read_scene(scene), read_scene(tmp_path / "filled" / scene.name)
    assert before.gaps.any()
    assert not after.gaps.any()
    assert np.array_equal(after.values[~before.gaps], before.values[~before.gaps])
    assert np.abs(after.values[before.gaps] - np.nanmean(before.values)).max() < 25


def test_products_are_listed_and_printed_to_be_changed(call, tmp_path):
    _, output, _ = call("products")
    assert "mod11a1: MODIS land surface temperature" in output
    assert "--layer LST_Day_1km | LST_Night_1km" in output
    _, output, _ = call("products", "mod11a1")
    (tmp_path / "mine.yaml").write_text(
        output.replace("name: mod11a1", "name: mine").replace("[0, 1]} # 1, 2 K", "[0]}")
    )
    mod11a1(tmp_path / "raw", days=1, size=32, clouds=0.3)
    code, output, _ = call("prepare", tmp_path / "raw", "--product", tmp_path / "mine.yaml", "--out", tmp_path / "data")
    assert (code, output.startswith("mine LST_Day_1km: 1 day of 32x32")) == (0, True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("prepare", "raw", "--product", "modis"), "--product modis is unknown; known are generic, "),
        (("prepare", "raw", "--layer", "x"), "--layer: only with --product"),
        (("prepare", "raw", "more"), "give one folder that `miha fetch` wrote, or name what was downloaded"),
        (("prepare", "raw", "--product", "mod11a1", "--daily", "last"), "--daily last: choose one of first"),
        (("prepare", "raw", "--product", "mod11a1", "--layer", "x"), "--layer x: mod11a1 has LST_Day_1km"),
        (("products", "modis"), "unknown product modis; known are generic, "),
    ],
)
def test_mistakes_are_reported_in_a_line(call, tmp_path, words, reason):
    out = ("--out", tmp_path / "data") if words[0] == "prepare" else ()
    code, _, errors = call(*words, *out)
    assert code == 2
    assert errors.startswith("miha: ")
    assert reason in errors
    assert len(errors.splitlines()) == 1
