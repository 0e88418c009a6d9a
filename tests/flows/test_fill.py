import pytest

import miha
from flows.fill import fill
from miha.errors import DataError
from miha.gapfill.filler import Filler
from miha.rasters.stack import list_rasters

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_the_flow_fills_the_same_bits_as_the_library(simulated, small_fill, tmp_path):
    config = small_fill()
    run = miha.optimize(config)
    sources = list_rasters(simulated / "gapped")[:3]
    written = fill(sources, run.model, simulated, tmp_path / "flow")
    Filler(run.model, simulated).fill_all(sources, tmp_path / "library")
    assert [path.name for path in written] == [path.name for path in sources]
    for path in written:
        assert path.read_bytes() == (tmp_path / "library" / path.name).read_bytes()


def test_a_scene_that_cannot_be_filled_fails_the_flow_before_any_is_written(simulated, small_fill, tmp_path):
    config = small_fill()
    run = miha.optimize(config)
    (tmp_path / "20210601.tif").write_text("no raster")
    with pytest.raises(DataError, match=r"20210601\.tif cannot be read as a raster"):
        fill(
            [*list_rasters(simulated / "gapped")[:1], tmp_path / "20210601.tif"], run.model, simulated, tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()
