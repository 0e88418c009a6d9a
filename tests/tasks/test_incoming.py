import os
import time

import pytest
from prefect.logging import disable_run_logger

from miha.rasters.masks import ClearRule
from miha.rasters.options import ReadOptions
from tasks.incoming import find_unfilled

READING = ReadOptions(clear=ClearRule(file="{name}_qa.tif", values=(0,)))


@pytest.fixture
def arrive(tmp_path):
    """Let a file arrive, some seconds ago; returns what is to be filled then."""

    def arrive(name="", ago=600.0, reading=READING):
        (tmp_path / "incoming").mkdir(exist_ok=True)
        if name:
            path = tmp_path / "incoming" / name
            path.write_text("content")
            os.utime(path, (time.time() - ago,) * 2)
        with disable_run_logger():
            ready, clashes = find_unfilled.fn(tmp_path / "incoming", tmp_path / "out", 60.0, reading)
        assert not clashes
        return [path.name for path in ready]

    return arrive


def test_a_quality_file_is_no_scene_and_waits_for_its_own(arrive):
    assert arrive("20210501_qa.tif") == []
    assert arrive("20210501.tif") == ["20210501.tif"]


def test_a_scene_waits_for_its_quality_file_until_that_has_settled(arrive):
    assert arrive("20210501.tif") == []
    assert arrive("20210501_qa.tif", ago=5) == []
    assert arrive("20210501_qa.tif") == ["20210501.tif"]


def test_every_raster_is_a_scene_where_quality_lies_in_its_own_file(arrive):
    arrive("20210501.tif")
    for reading in (ReadOptions(), ReadOptions(clear=ClearRule(band=2, values=(0,)))):
        assert arrive("20210502_qa.tif", reading=reading) == ["20210501.tif", "20210502_qa.tif"]


def test_a_scene_whose_quality_file_cannot_be_told_is_found_out_when_it_is_filled(arrive):
    by_date = ReadOptions(clear=ClearRule(file="{date:%Y%j}_qa.tif", values=(0,)))
    assert arrive("undated.tif", reading=by_date) == ["undated.tif"]
