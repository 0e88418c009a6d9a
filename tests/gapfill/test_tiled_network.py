import numpy as np
import pytest
import torch
from torch import nn

from miha.errors import ArchiveError, StorageError
from miha.gapfill import problem as problems
from miha.gapfill import tiled_network, view
from miha.gapfill.autoencoder import Autoencoder
from miha.gapfill.filler import BaseFiller
from miha.gapfill.network_filler import MIRRORINGS, NetworkFiller
from miha.gapfill.tiled_network import NetworkOverBase, reach_of
from miha.gapfill.unet import UNet
from miha.gapfill.view import Arrays
from miha.rasters import stack
from miha.rasters.simulate import simulate
from miha.rasters.stack import list_rasters, read_scene
from miha.records.record import model_path
from tests.support.filling import small_run

WINDOW = 24


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles and windows so small that a scene of 32 pixels has many, and errors that spread less far than it is wide."""
    monkeypatch.setattr(view, "TILE", 10)
    monkeypatch.setattr(tiled_network, "SIDE", WINDOW)
    monkeypatch.setattr(tiled_network, "ALIGNED", 4)


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    problems._read_history.cache_clear()
    yield
    problems._read_history.cache_clear()


def trained_unet(levels):
    """A U-Net whose weights do something."""
    torch.manual_seed(3)
    network = UNet(5, 4, levels).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize(("levels", "reach"), [(1, 2), (2, 10), (3, 26)])
def test_how_far_a_network_looks_is_found_by_trying(levels, reach):
    assert reach / 2 <= reach_of(trained_unet(levels), 5) <= reach


def test_a_network_that_sees_the_whole_or_is_shifted_by_its_size_has_no_reach(monkeypatch):
    monkeypatch.setattr(tiled_network, "PROBES", (256,))
    assert reach_of(Autoencoder().eval(), 1) is None


def whole(shape):
    return slice(0, shape[0]), slice(0, shape[1])


def test_opened_files_are_filled_as_scenes_in_memory(run, simulated, tmp_path, opened):
    source, archive = list_rasters(simulated / "gapped")[3], model_path(run.run_dir, "final")
    filler = NetworkFiller(archive, simulated)
    assert filler.opened
    filler.fill(source, tmp_path / "opened" / source.name)
    BaseFiller(simulated).fill(source, tmp_path / "base" / source.name)
    stack.IN_MEMORY = 10**9
    problems._read_history.cache_clear()
    NetworkFiller(archive, simulated).fill(source, tmp_path / "held" / source.name)
    one, other, base = (read_scene(tmp_path / name / source.name).values for name in ("opened", "held", "base"))
    assert np.abs(one - other).max() < 0.02  # stored in hundredths
    assert not np.array_equal(one, base)


@pytest.mark.parametrize("window", [WINDOW, 512])
def test_a_network_fills_tile_by_tile_as_it_does_at_once(run, simulated, small_tiles, monkeypatch, window):
    monkeypatch.setattr(tiled_network, "SIDE", window)
    filler = NetworkFiller(model_path(run.run_dir, "final"), simulated)
    scene = filler.read(list_rasters(simulated / "gapped")[3])
    background = filler.background(scene)
    expected = filler.predict(scene.values, background)
    tiled = filler._fill(Arrays(scene.values, background, filler.static))(whole(scene.values.shape))
    assert np.abs(tiled.mean - expected.mean)[scene.gaps].max() < 1e-4
    assert np.abs(tiled.std - expected.std)[scene.gaps].max() < 1e-4
    assert np.array_equal(tiled.mean[~scene.gaps], scene.values[~scene.gaps])


def test_no_border_shows_where_windows_join(run, tmp_path, monkeypatch):
    """Steps between neighbours are those of one window; if less is read around than the network sees, they are not."""
    simulate(tmp_path, days=8, height=80, width=80, seed=3)
    filler = NetworkFiller(model_path(run.run_dir, "final"), tmp_path)
    filler.network.share.fill_(1)  # of a correction that is large enough to tell
    nn.init.normal_(filler.network.head.weight, std=0.5, generator=torch.Generator().manual_seed(0))
    scene = filler.read(list_rasters(tmp_path / "gapped")[4])
    view_of = Arrays(scene.values, filler.background(scene), filler.static)
    monkeypatch.setattr(tiled_network, "SPREAD_SCALES", (0.5, 1.0, 1.5, 2.0))
    monkeypatch.setattr(tiled_network, "ALIGNED", 2)
    one, gap = whole(scene.values.shape), scene.gaps

    def filled(side, reach, spread):
        monkeypatch.setattr(tiled_network, "SIDE", side)
        monkeypatch.setattr(tiled_network, "SPREAD", spread)
        over = NetworkOverBase(view_of, filler.problem, filler.network, reach, MIRRORINGS, filler.seed)
        return over.fill(one).mean

    at_once = filled(80, filler.reach, 8)
    assert np.abs(filled(16, filler.reach, 8) - at_once)[gap].max() < 1e-4
    assert np.abs(filled(16, 0, 0) - at_once)[gap].max() > 1e-3


def test_the_maps_of_a_tile_are_computed_once_for_all_windows(run, simulated, small_tiles, monkeypatch):
    filler, computed = NetworkFiller(model_path(run.run_dir, "final"), simulated), []
    scene, compute = filler.read(list_rasters(simulated / "gapped")[3]), NetworkOverBase._compute
    monkeypatch.setattr(NetworkOverBase, "_compute", lambda self, *tile: computed.append(tile) or compute(self, *tile))
    filler._fill(Arrays(scene.values, filler.background(scene), filler.static))(whole(scene.values.shape))
    assert len(computed) == len(set(computed)) == 16


def test_a_full_disk_for_maps_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(tiled_network, "TemporaryFile", lambda: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(StorageError, match=r"cannot keep maps in .*Free space, or name another folder in .* TMPDIR"):
        tiled_network.Spooled(np.zeros((2, 64, 64), np.float32))


def test_an_autoencoder_fills_no_stack_that_is_opened(simulated, tmp_path, monkeypatch):
    schedule = {"initial_epochs": 1, "cycles": 0, "final_epochs": 1}
    model = small_run(tmp_path / "run", {"data": simulated, "network": "autoencoder"}, schedule=schedule).model
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    problems._read_history.cache_clear()
    with pytest.raises(ArchiveError, match=r"fills only stacks that fit into memory: its network must see whole"):
        NetworkFiller(model, simulated)
    problems._read_history.cache_clear()
