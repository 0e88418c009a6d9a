import numpy as np
import torch

from miha.gapfill.augmentation import mirrored, window_around
from miha.gapfill.problem import GapFill
from miha.problems.samples import Batch
from tests.support.filling import load
from tests.support.scenes import SMALL


def test_the_unet_trains_on_windows_around_targets_drawn_anew(simulated, tmp_path):
    problem = GapFill(data=simulated, window=16, flips=False, **SMALL)
    batch = Batch(*load(problem, tmp_path).train.tensors)
    draws = torch.rand(6, problem.draws_per_sample, generator=torch.Generator().manual_seed(0))
    drawn, drawn_anew = problem.augment(batch, draws), problem.augment(batch, 1 - draws)
    assert drawn.inputs.shape == (6, batch.inputs.shape[1], 16, 16)
    assert (drawn.mask.sum(dim=(1, 2, 3)) > 0).all()
    whole, part = (torch.cat([some.inputs, some.target[:, None], some.mask], dim=1) for some in (batch, drawn))
    for sample, window in zip(whole, part, strict=True):
        cuts = sample.unfold(1, 16, 1).unfold(2, 16, 1)  # (channels, rows, columns, 16, 16)
        assert (cuts == window[:, None, None]).all(dim=0).all(dim=-1).all(dim=-1).any()
    assert not torch.equal(drawn.target, drawn_anew.target)


def test_the_autoencoder_trains_on_whole_samples(simulated, tmp_path):
    problem = GapFill(data=simulated, network="autoencoder", window=16, **SMALL)
    batch = Batch(*load(problem, tmp_path).train.tensors)
    assert problem.augment(batch, torch.rand(6, 2)).inputs.shape == batch.inputs.shape


def test_a_window_lies_around_its_pixel_and_within_the_scene():
    hidden = np.zeros((40, 60), bool)
    hidden[39, 0] = hidden[20, 30] = True
    assert window_around(hidden, 16, 0) == (slice(12, 28), slice(22, 38))
    assert window_around(hidden, 16, 1) == (slice(24, 40), slice(0, 16))
    assert window_around(hidden, 50, 0) == (slice(0, 40), slice(5, 55))


def test_each_map_is_mirrored_along_the_axes_chosen_for_it():
    maps = torch.arange(4 * 6.0).view(4, 1, 2, 3)
    chosen = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    plain, sideways, upside_down, both = mirrored(maps, chosen)
    assert torch.equal(plain, maps[0])
    assert torch.equal(sideways, maps[1].flip(-1))
    assert torch.equal(upside_down, maps[2].flip(-2))
    assert torch.equal(both, maps[3].flip(-1, -2))


def test_a_sample_is_mirrored_with_its_target_and_only_if_wanted(simulated, tmp_path):
    batch = Batch(*load(GapFill(data=simulated, **SMALL), tmp_path).train.tensors)
    draws = torch.zeros(6, 2)
    turned = GapFill(data=simulated, **SMALL).augment(batch, draws)
    assert all(torch.equal(after, before.flip(-1, -2)) for before, after in zip(batch, turned, strict=True))
    kept = GapFill(data=simulated, flips=False, **SMALL).augment(batch, draws)
    assert all(torch.equal(after, before) for before, after in zip(batch, kept, strict=True))
