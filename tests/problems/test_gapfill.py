import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from scenes import SMALL, alter
from torch import nn

from miha.errors import DataError
from miha.problems.augmentation import window_around
from miha.problems.base import Batch, find_activations, find_dropouts
from miha.problems.gapfill import MIN_TARGETS, MIN_VISIBLE, NOISE, GapFill, clear_days, paste_gap
from miha.rasters.gaps import Gaps
from miha.rasters.simulate import simulate
from miha.rasters.stack import list_rasters


def in_order(function, items):
    return [function(item) for item in items]


def load(problem, cache, seed=0):
    problem.prepare(cache, seed, in_order)
    return problem.load(cache, seed)


@pytest.fixture
def problem(simulated):
    return GapFill(data=simulated, **SMALL)


def test_the_split_is_seeded_disjoint_and_without_test_days_where_there_is_truth(problem, scenes):
    split = problem.split(0)
    assert split == problem.split(0) != problem.split(1)
    assert not set(split.train) & set(split.valid)
    assert split.test == ()
    shutil.rmtree(scenes / "truth")
    without_truth = GapFill(data=scenes, **SMALL).split(0)
    assert without_truth.test
    assert not set(without_truth.test) & {*without_truth.train, *without_truth.valid}


@pytest.mark.parametrize("content", [None, ".gitkeep"])
def test_a_truth_folder_without_scenes_is_none(scenes, content):
    shutil.rmtree(scenes / "truth")
    without = GapFill(data=scenes).split(0)
    (scenes / "truth").mkdir()
    if content:
        (scenes / "truth" / content).touch()
    assert GapFill(data=scenes).split(0) == without
    assert without.test


def test_no_day_is_held_out_for_the_test_if_none_is_wanted(scenes):
    shutil.rmtree(scenes / "truth")
    assert GapFill(data=scenes, test_fraction=0).split(0).test == ()


def test_static_layers_are_optional_even_where_their_folder_exists(scenes):
    for path in list_rasters(scenes / "static"):
        path.unlink()
    assert GapFill(data=scenes).sources().static.layers == ()
    assert GapFill(data=scenes).fingerprint()


def test_a_day_is_clear_by_its_share_of_what_any_day_shows():
    days = np.full((3, 10, 10), np.nan, np.float32)
    days[0, :2], days[1, :2, :3], days[2, :2, :2] = 1, 1, 1  # 20 pixels are ever seen: 20, 6 and 4 of them
    assert clear_days(days).tolist() == [0, 1]


def test_a_day_that_trained_stays_out_of_the_test_as_days_are_added(tmp_path):
    simulate(tmp_path / "all", days=30, height=32, width=32, seed=3)
    for folder in ("truth", "gapped"):
        shutil.rmtree(tmp_path / "all" / folder)
    days = list_rasters(tmp_path / "all" / "history")
    splits = []
    for count in (12, 15, 20, 30):
        grown = tmp_path / str(count)
        (grown / "history").mkdir(parents=True)
        for path in days[:count]:
            shutil.copy(path, grown / "history")
        splits.append(GapFill(data=grown, **SMALL).split(0))
    for before, after in pairwise(splits):
        assert not set(before.train) & set(after.test)
        assert len(after.test) >= len(before.test)
    assert splits[-1] != GapFill(data=grown, **SMALL).split(1)


def test_a_sample_is_a_day_with_a_gap_and_counts_only_hidden_pixels_of_known_truth(problem, tmp_path):
    data = load(problem, tmp_path)
    inputs, target, mask = data.train.tensors
    assert inputs.shape == (6, problem.build_network().encoder[0][0].in_channels, 32, 32)
    visible = inputs[:, 0]
    assert not (visible.bool() & mask.bool()).any()
    assert (target[mask == 0] == 0).all()
    assert (mask.sum(dim=(1, 2)) >= MIN_TARGETS).all()
    assert (visible.sum(dim=(1, 2)) >= MIN_VISIBLE).all()


def test_samples_are_drawn_once_per_run_and_by_its_seed(problem, tmp_path):
    one, again = load(problem, tmp_path / "a"), load(problem, tmp_path / "b")
    other = load(problem, tmp_path / "c", seed=1)
    assert torch.equal(one.train.tensors.inputs, again.train.tensors.inputs)
    assert not torch.equal(one.train.tensors.inputs, other.train.tensors.inputs)
    files = list((tmp_path / "a").iterdir())
    before = files[0].stat().st_mtime_ns
    load(problem, tmp_path / "a")
    assert files[0].stat().st_mtime_ns == before


def test_data_that_change_while_samples_are_made_are_told_and_no_sample_is_kept(scenes, tmp_path):
    def altering(function, items):
        made = in_order(function, items)
        alter(list_rasters(scenes / "history")[0])
        return made

    with pytest.raises(DataError, match="changed while samples were made"):
        GapFill(data=scenes, **SMALL).prepare(tmp_path / "cache", 0, altering)
    assert not (tmp_path / "cache").exists()


def test_nothing_of_validation_days_enters_training_samples(scenes, tmp_path):
    """Neither as a target, nor as a predictor, nor through the normalisation."""
    problem = GapFill(data=scenes, **SMALL)
    before = load(problem, tmp_path / "before").train.tensors
    for day in problem.split(0).valid:
        alter(scenes / "history" / f"{day.replace('-', '')}.tif")
    after = load(GapFill(data=scenes, **SMALL), tmp_path / "after").train.tensors
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_training_reads_history_and_static_alone(scenes, tmp_path):
    problem = GapFill(data=scenes, **SMALL)
    before = load(problem, tmp_path / "before").train.tensors
    for folder in ("truth", "gapped"):
        for path in list_rasters(scenes / folder):
            alter(path)
    after = load(GapFill(data=scenes, **SMALL), tmp_path / "after").train.tensors
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert problem.fingerprint() == GapFill(data=scenes, **SMALL).fingerprint()


def test_the_fingerprint_follows_the_data_and_not_its_path(scenes, tmp_path):
    moved = shutil.copytree(scenes, tmp_path / "moved")
    assert GapFill(data=moved).fingerprint() == GapFill(data=scenes).fingerprint()
    alter(list_rasters(moved / "history")[0])
    assert GapFill(data=moved).fingerprint() != GapFill(data=scenes).fingerprint()


def test_scenes_larger_than_a_patch_are_cropped_around_hidden_pixels(simulated, tmp_path):
    data = load(GapFill(data=simulated, patch=16, **SMALL), tmp_path)
    assert data.train.tensors.inputs.shape[-2:] == (16, 16)
    assert (data.train.tensors.mask.sum(dim=(1, 2)) > 0).all()
    hidden = np.zeros((40, 60), bool)
    hidden[39, 0] = True
    assert window_around(hidden, 16, 0) == (slice(24, 40), slice(0, 16))


def test_the_unet_trains_on_windows_around_targets_drawn_anew(simulated, tmp_path):
    problem = GapFill(data=simulated, window=16, flips=False, **SMALL)
    batch = Batch(*load(problem, tmp_path).train.tensors)
    draws = torch.rand(6, problem.draws_per_sample, generator=torch.Generator().manual_seed(0))
    drawn, drawn_anew = problem.augment(batch, draws), problem.augment(batch, 1 - draws)
    assert drawn.inputs.shape == (6, batch.inputs.shape[1], 16, 16)
    assert (drawn.mask.sum(dim=(1, 2)) > 0).all()
    whole, part = (torch.cat([some.inputs, some.target[:, None], some.mask[:, None]], dim=1) for some in (batch, drawn))
    for sample, window in zip(whole, part, strict=True):
        cuts = sample.unfold(1, 16, 1).unfold(2, 16, 1)  # (channels, rows, columns, 16, 16)
        assert (cuts == window[:, None, None]).all(dim=0).all(dim=-1).all(dim=-1).any()
    assert not torch.equal(drawn.target, drawn_anew.target)


def test_the_autoencoder_trains_on_whole_samples(simulated, tmp_path):
    problem = GapFill(data=simulated, network="autoencoder", window=16, **SMALL)
    batch = Batch(*load(problem, tmp_path).train.tensors)
    assert problem.augment(batch, torch.rand(6, 2)).inputs.shape == batch.inputs.shape


def test_a_gap_that_leaves_too_little_is_drawn_again():
    day = np.full((20, 20), np.nan, np.float32)
    day[:10] = 1.0
    for seed in range(30):
        scene = paste_gap(day, Gaps(np.empty((0, 20, 20), bool)), 0.97, np.random.default_rng(seed))
        assert (~np.isnan(scene)).sum() >= MIN_VISIBLE
        assert (np.isnan(scene) & ~np.isnan(day)).sum() >= MIN_TARGETS


def test_too_few_days_are_told(scenes):
    for path in list_rasters(scenes / "history")[3:]:
        path.unlink()
    with pytest.raises(DataError, match="too few days"):
        GapFill(data=scenes).fingerprint()


@pytest.mark.parametrize("network", ["unet", "autoencoder"])
def test_the_output_layer_may_change_only_to_activations_of_both_signs_without_an_upper_bound(simulated, network):
    problem = GapFill(data=simulated, network=network)
    layers = problem.layers(problem.build_network())
    output = "output_activation" if network == "unet" else "layer4.1"
    offered = set(layers[output]) - {"ReLU"}  # in place in the autoencoder
    assert {"Identity", "ELU", "LeakyReLU"} <= offered
    for name in offered:
        low, high = getattr(nn, name)()(torch.tensor([-1.0, 5.0]))
        assert low < 0, name
        assert high > 4, name
    hidden = next(layer for layer in layers if layer != output)
    assert {"Sigmoid", "Tanh", "GELU", "Mish"} <= set(layers[hidden])


def test_the_articles_autoencoder_has_its_four_convolutions_and_keeps_any_size(simulated):
    network = GapFill(data=simulated, network="autoencoder").build_network()
    shapes = [tuple(weight.shape) for name, weight in network.named_parameters() if name.endswith("weight")]
    assert shapes == [(16, 1, 2, 2), (32, 16, 2, 2), (16, 32, 2, 2), (1, 16, 2, 2)]
    assert set(find_activations(network).values()) == {"ReLU"}
    for size in ((110, 88), (109, 62), (33, 34)):
        assert network(torch.zeros(2, 1, *size)).shape == (2, *size)


def test_an_untrained_unet_answers_with_its_first_guess(problem):
    network = problem.build_network()
    assert (network(torch.randn(1, network.encoder[0][0].in_channels, 20, 31)) == 0).all()


def test_the_last_layer_of_the_unet_sees_its_inputs(problem):
    network = problem.build_network()
    inputs = torch.randn(2, network.encoder[0][0].in_channels, 20, 31)
    with torch.no_grad():
        network.head.weight[0, 3] = 0.5
    assert torch.allclose(network(inputs), 0.5 * inputs[:, 3])


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
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2), torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]))
    value, mae, count = problem.validation(torch.full((1, 2, 2), 3.0), batch)
    assert (float(value), float(mae), float(count)) == ({"l1": 6.0, "mse": 18.0}[loss], 6.0, 2.0)


def test_the_unet_has_its_dropout_behind_all_batch_norms(problem):
    network = problem.build_network()
    assert find_dropouts(network) == {"dropout": 0.0}
    assert [name for name, _ in network.named_children()][-3:] == ["dropout", "head", "output_activation"]
