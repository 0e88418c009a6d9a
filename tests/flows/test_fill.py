import pytest

import miha
from flows.fill import fill
from miha.errors import DataError
from miha.gapfill.filler import BaseFiller, NetworkFiller
from miha.rasters.stack import list_rasters

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
    written = fill(sources, tmp_path / "flow", data=simulated, max_std=1.0)
    BaseFiller(simulated).fill_all(sources, tmp_path / "library", max_std=1.0)
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
