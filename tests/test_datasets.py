import shutil

import numpy as np
import pytest
import rasterio

from miha.datasets import PUBLISHED, checksums, fetch, prepare
from miha.errors import DataError
from miha.events import Counted, observed_by
from miha.rasters.stack import list_rasters, read_scene, read_stack


def test_the_manifest_in_the_package_lists_every_file_of_a_published_set():
    assert {name: len(checksums(name)) for name in PUBLISHED} == {
        "madrid": 62,
        "stpetersburg": 62,
        "vladivostok": 55,
        "mnist": 4,
    }
    assert all(len(checksum) == 64 for name in PUBLISHED for checksum in checksums(name).values())


def test_an_unknown_data_set_is_reported(tmp_path):
    with pytest.raises(DataError, match="unknown data set 'atlantis'; known are madrid"):
        fetch("atlantis", tmp_path / "out")


def test_a_set_is_fetched_from_the_local_folder_and_left_alone_when_complete(upstream, tmp_path):
    fetch("madrid", tmp_path / "raw")
    assert {path.name for path in (tmp_path / "raw").iterdir()} == {
        "training_sample",
        "actual_matrix",
        "additional_matrices",
        "inputs",
        "model_outputs",
        "source.json",
        ".miha",
    }
    shutil.rmtree(upstream)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "raw").rglob("*")}
    fetch("madrid", tmp_path / "raw")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "raw").rglob("*")} == before


def test_each_fetched_file_is_counted(upstream, tmp_path):
    events = []
    with observed_by(events.append):
        fetch("madrid", tmp_path / "raw")
        fetch("madrid", tmp_path / "raw")
    *fetched, again = events
    assert [(event.work, event.done, event.total) for event in fetched] == [("files", n, 12) for n in range(1, 13)]
    assert {event.part for event in fetched} == {path.name for path in upstream.rglob("*.npy")}
    assert again == Counted("files", 12, 12, f"{tmp_path / 'raw'} (complete already)")


def test_a_wrong_checksum_names_the_file_and_keeps_nothing(upstream, tmp_path):
    damaged = upstream / "inputs" / "20190905T000000_5_percent.npy"
    damaged.write_bytes(damaged.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"20190905T000000_5_percent\.npy has another checksum.*nothing was kept"):
        fetch("madrid", tmp_path / "raw")
    assert not (tmp_path / "raw").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def test_without_internet_and_local_files_the_remedy_is_reported(tmp_path, monkeypatch):
    monkeypatch.delenv("MIHA_DATA_DIR", raising=False)

    def unreachable(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("miha.datasets.retrieve", unreachable)
    with pytest.raises(DataError, match=r"cannot be reached.*Connect to the internet, or set MIHA_DATA_DIR"):
        fetch("madrid", tmp_path / "raw")
    assert list(tmp_path.iterdir()) == []


def test_a_city_becomes_geotiffs_in_the_folders_of_a_data_set(upstream, tmp_path):
    fetch("madrid", tmp_path / "raw")
    prepare(tmp_path / "raw", tmp_path / "scenes")
    stack = read_stack(tmp_path / "scenes" / "history")
    assert [day.isoformat() for day in stack.dates] == ["2019-09-01", "2019-09-02", "2019-09-03"]
    assert stack.unit == "K"
    truth = list_rasters(tmp_path / "scenes" / "truth")[0]
    with rasterio.open(truth) as raster:
        assert raster.crs.to_epsg() == 4326
        assert tuple(raster.bounds) == pytest.approx((-5, 39, -4, 40))
        assert raster.nodata == -100
    assert [path.name for path in list_rasters(tmp_path / "scenes" / "gapped")] == [
        "20190905_gap05.tif",
        "20190905_gap27.tif",
        "20190905_gap94.tif",
    ]
    assert read_scene(tmp_path / "scenes" / "gapped" / "20190905_gap27.tif").gaps.sum() == 8


def test_published_maps_are_matched_to_inputs_even_where_upstream_names_them_otherwise(upstream, tmp_path):
    fetch("madrid", tmp_path / "raw")
    prepare(tmp_path / "raw", tmp_path / "scenes")
    folder = tmp_path / "scenes" / "published" / "A"
    assert [path.name for path in list_rasters(folder)] == [
        "20190905_gap05.tif",
        "20190905_gap27.tif",
        "20190905_gap94.tif",
    ]
    truth = read_scene(list_rasters(tmp_path / "scenes" / "truth")[0]).values
    assert np.allclose(read_scene(folder / "20190905_gap27.tif").values - truth, 27, atol=1e-3)


def test_preparing_again_gives_the_same_bytes(upstream, tmp_path):
    fetch("madrid", tmp_path / "raw")
    for name in ("a", "b", "a"):
        prepare(tmp_path / "raw", tmp_path / name)
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.tif")}
        for name in "ab"
    ]
    assert files[0] == files[1]


def test_what_is_no_fetched_city_is_reported_and_nothing_is_written(upstream, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it has no training_sample/"):
        prepare(tmp_path / "empty", tmp_path / "scenes")
    fetch("madrid", tmp_path / "raw")
    (tmp_path / "raw" / "inputs" / "20190905T000000_5_percent.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"5_percent\.npy cannot be read as an array"):
        prepare(tmp_path / "raw", tmp_path / "scenes")
    assert not (tmp_path / "scenes").exists()


def test_a_folder_of_something_else_is_not_replaced(upstream, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="was not written by MIHA"):
        prepare(upstream, tmp_path / "home")
    assert (tmp_path / "home" / "letter.txt").exists()


@pytest.mark.real
@pytest.mark.parametrize(("city", "days", "shape"), [("madrid", 27, (110, 88)), ("stpetersburg", 22, (109, 62))])
def test_the_published_cities_are_fetched_and_prepared(published_data, tmp_path, city, days, shape):
    fetch(city, tmp_path / "raw")
    prepare(tmp_path / "raw", tmp_path / "scenes")
    stack = read_stack(tmp_path / "scenes" / "history")
    assert stack.values.shape == (days, *shape)
    assert len(list_rasters(tmp_path / "scenes" / "gapped")) == 8
    assert len(list((tmp_path / "scenes" / "published").glob("*/*.tif"))) == 24


def test_raw_files_are_never_replaced_by_what_is_made_of_them(upstream, tmp_path):
    fetch("madrid", tmp_path / "raw")
    with pytest.raises(DataError, match="holds the fetched files"):
        prepare(tmp_path / "raw", tmp_path / "elsewhere" / ".." / "raw")
    assert (tmp_path / "raw" / "training_sample").is_dir()


def test_a_city_without_published_maps_is_prepared_all_the_same(upstream, tmp_path):
    fetch("madrid", tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw" / "model_outputs")
    prepare(tmp_path / "raw", tmp_path / "scenes")
    assert not (tmp_path / "scenes" / "published").exists()
    assert len(list_rasters(tmp_path / "scenes" / "gapped")) == 3
