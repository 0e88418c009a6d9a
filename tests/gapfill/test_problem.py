import shutil

import numpy as np
import pytest
import torch

from miha.gapfill.problem import NOISE, GapFill
from miha.problems.samples import Batch
from miha.rasters.stack import list_rasters
from tests.support.filling import load
from tests.support.scenes import SMALL, alter


def test_static_layers_are_optional_even_where_their_folder_exists(scenes):
    for path in list_rasters(scenes / "static"):
        path.unlink()
    assert GapFill(data=scenes).static().layers == ()
    assert GapFill(data=scenes).fingerprint()


def test_the_fingerprint_follows_the_data_and_not_its_path(scenes, tmp_path):
    moved = shutil.copytree(scenes, tmp_path / "moved")
    assert GapFill(data=moved).fingerprint() == GapFill(data=scenes).fingerprint()
    alter(list_rasters(moved / "history")[0])
    assert GapFill(data=moved).fingerprint() != GapFill(data=scenes).fingerprint()


@pytest.mark.parametrize("network", ["unet", "autoencoder"])
def test_augmentation_adds_noise_to_what_is_observed_and_to_nothing_else(simulated, tmp_path, network):
    problem = GapFill(data=simulated, network=network, **SMALL)
    batch = Batch(*load(problem, tmp_path).train.tensors)
    draws = torch.rand(6, 1, generator=torch.Generator().manual_seed(0))
    noise = problem.distort(batch, draws, 0.5).inputs - batch.inputs
    observed = torch.zeros_like(batch.inputs, dtype=torch.bool)
    if network == "autoencoder":
        observed[:, 0] = batch.inputs[:, 0] != 0
    else:
        observed[:, 1] = batch.inputs[:, 0] == 1
        similar = slice(-2 * problem.analogues, -problem.analogues)
        observed[:, similar] = batch.inputs[:, -problem.analogues :] == 1
    assert (noise[~observed] == 0).all()
    assert float(noise[observed].std()) == pytest.approx(0.5 * NOISE, rel=0.05)
    assert float(noise[observed].mean()) == pytest.approx(0, abs=0.01)


def test_the_noise_of_a_sample_is_the_same_in_any_batch(problem, tmp_path):
    batch = Batch(*load(problem, tmp_path).train.tensors)
    draws = torch.rand(6, 1, generator=torch.Generator().manual_seed(0))
    together = problem.distort(batch, draws, 1.0).inputs
    alone = problem.distort(Batch(*(part[4:5] for part in batch)), draws[4:5], 1.0).inputs
    assert torch.equal(together[4:5], alone)


@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_training_starts_on_the_loss_of_the_setting_and_validation_stays_on_it(loss):
    problem = GapFill(loss=loss)
    assert problem.offered_losses()[0] == loss
    assert sorted(problem.offered_losses()) == ["huber", "l1", "log_cosh", "mse"]
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]))
    value, mae, count = problem.validation(torch.full((1, 2, 2), 3.0), batch)
    assert (float(value), float(mae), float(count)) == ({"l1": 6.0, "mse": 18.0}[loss], 6.0, 2.0)


def test_the_fingerprint_covers_static_layers_and_whether_there_is_truth(scenes):
    before = GapFill(data=scenes).fingerprint()
    shutil.rmtree(scenes / "truth")
    without = GapFill(data=scenes).fingerprint()
    (scenes / "static" / "landcover.tif").unlink()
    assert len({before, without, GapFill(data=scenes).fingerprint()}) == 3


def test_the_stamp_changes_with_any_file_that_training_reads_and_with_no_other(scenes):
    problem = GapFill(data=scenes)
    stamps = [problem.stamp()]
    alter(list_rasters(scenes / "gapped")[0])
    assert problem.stamp() == stamps[0]
    for folder in ("history", "static"):
        list_rasters(scenes / folder)[0].touch()
        stamps.append(problem.stamp())
    list_rasters(scenes / "history")[-1].unlink()
    stamps.append(problem.stamp())
    assert len(set(stamps)) == 4


def test_an_open_history_is_read_again_when_a_file_of_it_changes(scenes):
    problem = GapFill(data=scenes)
    before = problem.history()
    assert problem.history() is before
    alter(list_rasters(scenes / "history")[0])
    assert np.nanmax(problem.history().values[0]) == pytest.approx(np.nanmax(before.values[0]) + 40, abs=0.01)
