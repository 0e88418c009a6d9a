import io
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio
from matplotlib.image import imread

from flows.view.catalogue import catalogue_of
from flows.view.drawing import Part, maps_of, read_part
from flows.view.server import Viewer
from miha.errors import ConfigError, DataError
from miha.gapfill.network_filler import open_filler
from miha.gapfill.options import FillOptions
from miha.rasters.masks import ClearRule
from miha.rasters.options import ReadOptions
from miha.rasters.simulate import simulate
from miha.rasters.stack import list_rasters, read_scene
from miha.rasters.writing import EMPTY, FILLED
from tests.support.browser import dumped
from tests.support.filling import add_quality_files
from tests.support.rasters import write

WHOLE = "left=0&top=0&right=32&bottom=32&width=400&height=400"
QUALITY = ClearRule(band=2, values=(0,))


@pytest.fixture(scope="module")
def filled(simulated, tmp_path_factory):
    """Two scenes filled by the base, with their maps."""
    out = tmp_path_factory.mktemp("view") / "filled"
    open_filler(None, simulated).fill_all(list_rasters(simulated / "gapped")[:2], out)
    return out


@contextmanager
def served(folder, options=ReadOptions()):
    """The address at which a folder can be looked at."""
    with Viewer(folder, options) as viewer:
        threading.Thread(target=viewer.serve_forever, daemon=True).start()
        try:
            yield viewer.address
        finally:
            viewer.shutdown()


def get(address, **headers):
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30).read()


def test_a_folder_of_filled_scenes_has_four_layers(filled):
    days = catalogue_of(filled, ReadOptions()).days
    assert [[*day.layers] for day in days] == [["observed", "filled", "std", "source"]] * 2
    assert len({day.label for day in days}) == 2, "two scenes of one day are kept apart"


def test_a_data_set_has_its_days_in_order_and_gaps_with_their_truth(simulated):
    days = catalogue_of(simulated, ReadOptions()).days
    assert [day.label for day in days] == sorted(day.label for day in days)
    assert sum([*day.layers] == ["observed"] for day in days) == len(list_rasters(simulated / "history"))
    assert sum([*day.layers] == ["observed", "truth"] for day in days) == len(list_rasters(simulated / "gapped"))


def test_quality_files_are_no_scenes(scenes):
    before = catalogue_of(scenes, ReadOptions())
    reading = ReadOptions(clear=add_quality_files(scenes))
    assert catalogue_of(scenes, reading) == before
    assert len(catalogue_of(scenes / "truth", reading).days) == len(list_rasters(scenes / "truth")) / 2


def test_the_page_and_its_description_are_self_contained(filled):
    with served(filled) as address:
        page, about = get(address).decode(), json.loads(get(f"{address}description"))
    assert "http://" not in page
    assert "https://" not in page
    assert (about["height"], about["width"], about["unit"]) == (32, 32, "K")
    assert about["legends"]["observed"] == about["legends"]["filled"], "one scale, so that they can be compared"
    assert about["legends"]["std"]["low"] == 0


def test_pictures_show_gaps_grey_where_observed_and_no_finer_than_the_raster(filled):
    with rasterio.open(sorted(filled.glob("*_source.tif"))[0]) as raster:
        source = raster.read(1)
    grey = np.array([226, 230, 234]) / 255
    with served(filled) as address:
        for layer, expected in (("observed", source != 0), ("filled", np.zeros_like(source, bool))):
            picture = imread(io.BytesIO(get(f"{address}picture?day=0&layer={layer}&{WHOLE}")))
            assert picture.shape[:2] == (32, 32)
            assert np.array_equal(np.isclose(picture[..., :3], grey, atol=0.01).all(axis=-1), expected)
        small = get(f"{address}picture?day=0&layer=std&left=-9&top=4&right=20&bottom=20&width=8&height=8")
        assert imread(io.BytesIO(small)).shape[:2] == (8, 8)


def test_a_value_is_that_of_the_pixel_in_the_unit_of_the_data(filled):
    path = sorted(filled.glob("*gap??.tif"))[0]
    values = read_scene(path).values
    with served(filled) as address:
        answer = json.loads(get(f"{address}value?day=0&layer=filled&row=3&column=7"))
        assert answer == pytest.approx(float(values[3, 7]))


def test_scenes_are_read_as_the_options_say(simulated):
    with served(simulated, ReadOptions(nodata=[0], band=1)) as address:
        about = json.loads(get(f"{address}description"))
        assert about["layers"] == ["observed", "truth"]


def test_a_scene_is_seen_as_it_is_filled_whatever_size_it_is_shown_at(tmp_path):
    rng = np.random.default_rng(0)
    path = write(tmp_path / "20210501.tif", [rng.uniform(280, 300, (41, 30)), rng.uniform(size=(41, 30)) < 0.02])
    whole = Part(0, 0, 30, 41, 30, 41)
    for reading in (ReadOptions(), ReadOptions(clear=QUALITY), ReadOptions(clear=QUALITY, grow=2)):
        values = read_scene(path, reading).values
        assert np.array_equal(read_part(path, "observed", whole, reading), values, equal_nan=True)
        shrunk = read_part(path, "observed", Part(3, 0, 30, 41, 9, 10), reading)
        assert np.array_equal(shrunk, values[2::4][:10, 4::3], equal_nan=True)


def test_what_is_filled_is_seen_and_what_is_left_empty_is_not(tmp_path):
    """The quality layer stays beside the filled band, or where it was."""
    rng = np.random.default_rng(0)
    quality = np.zeros((30, 30))
    quality[5:20, 5:20] = 1
    path = write(tmp_path / "20210501.tif", np.float32([rng.uniform(280, 300, (30, 30)), quality]))
    area = write(tmp_path / "area.tif", np.float32(np.arange(30)[:, None] < np.full(30, 12)))
    write(tmp_path / "20210501_qa.tif", np.float32(quality))
    for rule in (QUALITY, ClearRule(file="{name}_qa.tif", values=(0,))):
        reading, out = ReadOptions(clear=rule), tmp_path / f"out{rule.band}"
        open_filler(None, None, reading).fill(path, out / path.name, FillOptions(area=area))
        (day,) = catalogue_of(out, reading).days
        shown = {layer: read_part(file, layer, Part(0, 0, 30, 30, 30, 30), reading)
                 for layer, file in day.layers.items()}  # fmt: skip
        assert np.array_equal(np.isnan(shown["observed"]), quality == 1)
        assert np.array_equal(np.isnan(shown["filled"]), shown["source"] == EMPTY)
        assert (shown["source"] == EMPTY).any()
        assert (shown["source"] == FILLED).any()


def test_rasters_that_cannot_be_read_as_the_options_say_are_named(simulated):
    for reading, what in (
        (ReadOptions(band=2), "1 band, so there is no band 2"),
        (ReadOptions(clear=ClearRule(file="{name}_qa.tif", values=(0,))), "no quality file"),
    ):
        with pytest.raises(DataError, match=what):
            Viewer(simulated, reading)


def test_the_maps_of_a_filled_scene_are_of_the_band_that_was_filled(tmp_path):
    bands = np.float32([np.full((30, 30), 1), np.arange(900).reshape(30, 30)])
    bands[1, :4] = np.nan
    path, reading = write(tmp_path / "20210501.tif", bands), ReadOptions(band=2)
    filled = open_filler(None, None, reading).fill(path, tmp_path / "out" / path.name)
    shown = [axes.images[0].get_array() for axes in maps_of(filled, reading).axes if axes.images]
    assert np.ma.compressed(np.ma.masked_invalid(shown[0])).max() == 899


def test_a_run_shows_its_data_set_and_its_report(simulated, tmp_path):
    (tmp_path / "report.html").write_text("<p>report</p>")
    rest = {"configuration": {"schedule": {}, "unchanged": False, "run": {"keep": "all"}}, "data_digest": ""}
    rest |= {"epochs": 1, "finished": "", "host": "", "miha": "", "git_revision": None}
    (tmp_path / "provenance.json").write_text(json.dumps({"data": str(simulated), **rest}))
    with served(tmp_path) as address:
        assert json.loads(get(f"{address}description"))["report"]
        assert get(f"{address}report") == b"<p>report</p>"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (f"picture?day=9&layer=filled&{WHOLE}", 400),
        (f"picture?day=0&layer=../../etc/passwd&{WHOLE}", 400),
        ("picture?day=0&layer=filled&left=90&top=0&right=99&bottom=9&width=9&height=9", 400),
        ("picture?day=0&layer=filled", 400),
        ("report", 400),
        ("flows/cli.py", 404),
    ],
)
def test_what_is_not_there_is_refused(filled, asked, code):
    with served(filled) as address, pytest.raises(urllib.error.HTTPError) as caught:
        get(address + asked)
    assert caught.value.code == code


def test_only_this_machine_is_answered_under_its_own_names(filled):
    with served(filled) as address:
        assert address.startswith("http://127.0.0.1:")
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(address, Host="evil.example")
    assert caught.value.code == 403


def test_a_folder_without_scenes_and_a_port_in_use_are_reported(filled, tmp_path):
    with pytest.raises(DataError, match="holds no GeoTIFF"):
        Viewer(tmp_path)
    with Viewer(filled) as viewer, pytest.raises(ConfigError, match=f"--port {viewer.server_port} cannot be used"):
        Viewer(filled, port=viewer.server_port)


@pytest.mark.slow
def test_a_browser_draws_the_map(filled):
    with served(filled) as address:
        for width in (500, 1280):
            page = dumped(address, width)
            assert 'data-ready="filled of' in page
            assert 'alt="filled of' in page
            assert "standard deviation" in page


@pytest.mark.slow
def test_a_year_of_large_scenes_is_quick(tmp_path):
    simulate(tmp_path / "data", days=30, height=1000, width=1000, seed=0)
    history = tmp_path / "data" / "history"
    paths = list_rasters(history)
    for number in range(365 - len(paths)):
        month, day = divmod(number, 28)
        (history / f"20{month:02d}01{day + 1:02d}.tif").symlink_to(paths[number % len(paths)])
    started = time.monotonic()
    with served(history) as address:
        assert len(json.loads(get(f"{address}description"))["days"]) == 365
        assert time.monotonic() - started < 20
        started = time.monotonic()
        for day in range(0, 360, 18):
            get(f"{address}picture?day={day}&layer=observed&left=0&top=0&right=1000&bottom=1000&width=900&height=900")
        assert (time.monotonic() - started) / 20 < 1.5
