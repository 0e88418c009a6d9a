import base64
import sys
from datetime import date

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

import miha
from flows.fill import fill, fill_series
from miha.errors import DataError
from miha.gapfill.filler import BaseFiller
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.options import FillOptions
from miha.gapfill.series import Series, days_of
from miha.rasters.stack import list_rasters
from tests.support.processes import ROOT, environment, running, wait_for

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_the_flow_fills_the_same_bits_as_the_library(simulated, small_fill, tmp_path):
    config = small_fill()
    run = miha.optimize(config)
    sources = list_rasters(simulated / "gapped")[:3]
    written = fill(sources, tmp_path / "flow", run.model, simulated)
    NetworkFiller(run.model, simulated).fill_all(sources, tmp_path / "library")
    assert [path.name for path in written] == [path.name for path in sources]
    for path in written:
        assert path.read_bytes() == (tmp_path / "library" / path.name).read_bytes()


def test_the_flow_fills_without_a_model_as_the_library_does(simulated, tmp_path):
    sources = list_rasters(simulated / "gapped")[:2]
    written = fill(sources, tmp_path / "flow", data=simulated, options=FillOptions(max_std=1.0))
    BaseFiller(simulated).fill_all(sources, tmp_path / "library", options=FillOptions(max_std=1.0))
    assert [path.name for path in written] == [path.name for path in sources]
    for path in list_rasters(tmp_path / "flow"):
        assert path.read_bytes() == (tmp_path / "library" / path.name).read_bytes()
    assert len(list_rasters(tmp_path / "flow")) == 3 * len(sources)


def test_a_scene_that_cannot_be_filled_fails_the_flow_before_any_is_written(simulated, small_fill, tmp_path):
    config = small_fill()
    run = miha.optimize(config)
    (tmp_path / "20210601.tif").write_text("no raster")
    with pytest.raises(DataError, match=r"20210601\.tif cannot be read as a raster"):
        fill(
            [*list_rasters(simulated / "gapped")[:1], tmp_path / "20210601.tif"], tmp_path / "out", run.model, simulated
        )
    assert not (tmp_path / "out").exists()


def test_the_page_shows_how_far_it_is_and_the_last_scene(simulated, tmp_path):
    sources = list_rasters(simulated / "gapped")[:2]
    state = fill(sources, tmp_path / "out", data=simulated, return_state=True)
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        found = {artifact.key: artifact for artifact in client.read_artifacts(flow_run_filter=mine)}
    assert (found["scenes"].data, found["scenes"].description) == (100, "2 of 2 scenes done")
    assert found["last-scene"].description == str(tmp_path / "out" / sources[-1].name)
    before, _, picture = found["last-scene"].data.removesuffix(")").partition(";base64,")
    assert before.endswith("](data:image/png")
    assert base64.b64decode(picture).startswith(b"\x89PNG")


SPAN = {"first": date(2021, 5, 1), "last": date(2021, 5, 4)}


@pytest.mark.slow
def test_the_flow_fills_the_days_of_a_history_once(simulated, tmp_path):
    series = Series(data=simulated, out=tmp_path / "out", **SPAN)
    assert fill_series(series, 2) == {}
    days = days_of(series)
    assert all(day.filled for day in days)
    stamps = [day.target.stat().st_mtime_ns for day in days]
    assert fill_series(series, 2) == {}
    assert [day.target.stat().st_mtime_ns for day in days] == stamps


@pytest.mark.slow
def test_a_killed_series_continues_to_the_same_bits(simulated, tmp_path):
    outs = [tmp_path / "killed", tmp_path / "whole"]
    env = environment(tmp_path / "home", PYTHONPATH=str(ROOT))
    start = [sys.executable, "-c", "from flows.cli import main; main()"]
    commands = [[*start, "fill", "--data", simulated, "--dates", "2021-05-01/2021-05-04", "--out", out] for out in outs]
    log = tmp_path / "log"
    with running([str(word) for word in commands[0]], log, env) as process:
        wait_for(lambda: list(outs[0].glob("2021*.tif")), 300, log)
        process.kill()
    for again in commands:
        with running([str(word) for word in again], log, env) as process:
            assert process.wait(600) == 0
    killed, whole = ({path.name: path.read_bytes() for path in out.glob("*.tif")} for out in outs)
    assert killed == whole
    assert len(whole) == 12
