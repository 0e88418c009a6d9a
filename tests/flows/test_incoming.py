import os
import shutil
import time

import pytest

import miha
from flows.incoming import fill_incoming
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.release import release_if_better
from miha.rasters.stack import list_rasters
from tasks.filling import load_filler

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_scene_is_filled_by_the_released_model_which_is_loaded_once(simulated, small_fill, tmp_path):
    run = miha.optimize(small_fill())
    release_if_better(run.model, "first", simulated, tmp_path / "models" / "sim")
    source, out = list_rasters(simulated / "gapped")[0], tmp_path / "out"
    for folder in (tmp_path / "incoming", out):
        folder.mkdir()
    scene = tmp_path / "incoming" / source.name
    shutil.copy(source, scene)
    os.utime(scene, (time.time() - 600,) * 2)
    (out / ".unfinished-of-a-process-that-was-killed.tif").write_text("half")
    filled = fill_incoming("sim", simulated, tmp_path / "incoming", out, tmp_path / "models")
    assert filled.filled == [out / source.name]
    assert load_filler.cache_info().misses == 1
    alone = NetworkFiller(run.model, simulated).fill(source, tmp_path / "alone" / source.name)
    assert (out / source.name).read_bytes() == alone.read_bytes()
    assert not list(out.glob(".unfinished-*"))
