"""``miha.tune``: what kinds of networks and data it takes."""

import json
import os

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import miha
from miha.errors import ArchiveError, ConfigError, RunError
from miha.events import RunStarted, observed_by
from miha.records.archive import read_archive
from miha.replay import replay_config
from miha.tuning import split
from tests.support.runs import contents
from tests.support.tuned import (
    VALID,
    Attending,
    Dictionaries,
    N,
    Recurrent,
    TwoInputs,
    normalised,
    of_tensors,
    tensors,
    tune,
    two_inputs,
)


def loss_of(run, valid):
    """Computed by hand with the network that a run gives."""
    with torch.no_grad():
        *inputs, target = valid[:]
        return float(functional.mse_loss(run.network()(*inputs), target))


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 1))


@pytest.mark.parametrize(
    ("build", "shape"),
    [(normalised, (4,)), (convolutional, (1, 6, 6)), (Recurrent, (5, 2)), (Attending, (5, 2))],
    ids=["batch normalisation", "convolution", "LSTM", "transformer"],
)
def test_a_network_is_judged_as_whoever_takes_it_from_the_run_will_judge_it(tmp_path, build, shape):
    data = of_tensors(*shape)
    only_activations = {"operators": {"activation": 1}}
    run = tune(tmp_path, build, data, start={"lr": 0.01}, search=only_activations, seed=1)
    assert run.scores["valid_loss"] == pytest.approx(loss_of(run, data["valid"]), rel=1e-4)
    assert run.best.valid_loss < run.history.valid_loss.iloc[0], "it learned"
    assert set(run.population.operator) == {"", "activation"}
    assert run.history.mae.notna().all()
    assert run.plot(run).axes


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.act, self.up = nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False)
        self.up.weight = self.down.weight

    def forward(self, inputs):
        return self.up(self.act(self.down(inputs))).sum(dim=1, keepdim=True)


def test_weights_that_are_tied_stay_so(tmp_path):
    data = of_tensors(4)
    run = tune(tmp_path, Tied, data)
    weights = read_archive(run.model).weights
    assert torch.equal(weights["up.weight"], weights["down.weight"])
    network = run.network()
    assert network.up.weight is network.down.weight
    assert run.best.valid_loss == pytest.approx(loss_of(run, data["valid"]), rel=1e-4)


def frozen():
    network = normalised()
    network[0].requires_grad_(False)
    return network


def test_layers_that_are_frozen_keep_every_bit(tmp_path):
    run = tune(tmp_path, frozen, of_tensors(4), start={"optimizer": "AdamW", "weight_decay": 0.1})
    before, after = (read_archive(run.run_dir / "model" / f"model_{name}.zip").weights for name in ("base", "final"))
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["4.weight"], after["4.weight"])


def test_a_network_takes_several_inputs_by_position(tmp_path):
    data = {"train": two_inputs(N), "valid": two_inputs(VALID)}
    run = tune(tmp_path, TwoInputs, data)
    assert run.best.valid_loss == pytest.approx(loss_of(run, data["valid"]), rel=1e-4)


def test_a_network_takes_dictionaries_by_name_and_transforms_are_drawn_from_the_seed(tmp_path):
    data = {"train": Dictionaries(N), "valid": Dictionaries(VALID), "target": "y"}
    first = tune(tmp_path, TwoInputs, data, "first")
    torch.manual_seed(5)
    assert contents(tune(tmp_path, TwoInputs, data, "second").run_dir) == contents(first.run_dir)
    seeded = tune(tmp_path, TwoInputs, data, "third", seed=1)
    assert seeded.history.train_loss.iloc[-1] != first.history.train_loss.iloc[-1]


def joined(samples):
    inputs, targets = zip(*samples, strict=True)
    return torch.stack(inputs) * 0.5, torch.stack(targets)


def test_loaders_give_their_batch_size_and_collate_function_and_their_processes_change_no_bit(tmp_path):
    data = of_tensors(4)

    def run(name, processes, **settings):
        loaders = {
            key: DataLoader(one, 12, shuffle=True, collate_fn=joined, num_workers=processes)
            for key, one in data.items()
        }
        return tune(tmp_path, normalised, loaders, name, **settings)

    first = run("first", 0)
    assert first.history.batch_size.iloc[1] == 12
    inputs, target = data["valid"].tensors
    assert first.best.valid_loss == pytest.approx(loss_of(first, TensorDataset(0.5 * inputs, target)), rel=1e-4)
    assert contents(run("second", 1, run={"workers": 2}).run_dir) == contents(first.run_dir)


@pytest.mark.parametrize("size", [2, 256])
def test_the_batch_size_of_a_loader_may_lie_outside_of_what_is_searched_else(tmp_path, size):
    loaders = {key: DataLoader(one, size) for key, one in of_tensors(4).items()}
    assert tune(tmp_path, Tied, loaders).history.batch_size.iloc[1] == size


def test_gradients_are_clipped_and_summed_up_as_is_asked(tmp_path):
    data = of_tensors(4)
    runs = {
        name: tune(tmp_path, Tied, data, name, start={"optimizer": "SGD", "batch_size": 32}, **settings)
        for name, settings in {
            "plain": {},
            "pieces": {"largest_piece": 10},
            "clipped": {"max_gradient_norm": 1e-6},
        }.items()
    }
    base, *others = (run.history.train_loss.iloc[-1] for run in runs.values())
    assert others[0] == pytest.approx(base, rel=1e-3)
    still = runs["clipped"].history.valid_loss
    assert still.iloc[-1] == pytest.approx(still.iloc[0], rel=1e-3)


def logits():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def test_other_losses_may_be_tried_on_the_way(tmp_path):
    data = {key: TensorDataset(one[:][0], one[:][0][:, :3].argmax(1)) for key, one in of_tensors(4).items()}
    names = ("cross_entropy", "label_smoothing", "focal")
    search = {"operators": {"loss": 1}}
    run = tune(tmp_path, logits, data, loss=nn.CrossEntropyLoss(), metric=None, losses=names, search=search)
    tried = run.population[run.population.operator == "loss"]
    assert set(tried.after) == set(names[1:])


@pytest.mark.parametrize("epochs", [7, 8, 20, 59, 60, 176, 1001])
def test_a_budget_is_the_whole_of_a_run(epochs):
    schedule = split(epochs)
    assert schedule.budget == epochs
    assert schedule.closing_epochs >= epochs * 0.14
    assert schedule.averaging == schedule.candidate_epochs / 3


def test_a_budget_that_is_too_small_for_a_population_is_refused():
    with pytest.raises(ConfigError, match="epochs is 6, but one cycle of 4 candidates needs 7"):
        split(6)


def test_a_candidate_may_win_by_however_little_unless_another_margin_is_asked_for(tmp_path):
    for given, noise in (({}, 0.0), ({"fitness": {"noise": 2}}, 2.0), ({"fitness": {"rate_weight": 1}}, 0.0)):
        run = tune(tmp_path, normalised, of_tensors(4), replace=True, **given)
        assert json.loads((run.run_dir / "config.json").read_text())["fitness"]["noise"] == noise


def test_another_loss_or_other_data_make_another_run_whose_parts_harm_no_former_one(tmp_path):
    first = tune(tmp_path, Tied, of_tensors(4))
    before = first.network()(torch.ones(1, 4))
    for changed in ({"loss": functional.l1_loss}, {"valid": TensorDataset(*tensors(4, n=9))}):
        with pytest.raises(RunError, match=r"archives of another configuration: .*problem\.identity was"):
            tune(tmp_path, Tied, of_tensors(4) | changed)
    assert len(list(first.run_dir.glob("problem_*.pkl"))) == 1, "what is refused leaves none"
    assert torch.equal(first.network()(torch.ones(1, 4)), before)


def test_a_loss_that_is_not_finite_after_the_first_epoch_is_reported_with_what_to_do(tmp_path):
    with pytest.raises(RunError, match=r"init \(initial training\) diverged in epoch 1.*start.lr"):
        tune(tmp_path, normalised, of_tensors(4), start={"optimizer": "SGD", "lr": 9.0}, loss=exploding)


def exploding(output, target):
    return (output - target).square().mean() * 1e30


def test_what_a_run_replaces_leaves_no_parts_behind(tmp_path):
    tune(tmp_path, Tied, of_tensors(4))
    run = tune(tmp_path, Tied, of_tensors(4), loss=functional.l1_loss, replace=True)
    assert len(list(run.run_dir.glob("problem_*.pkl"))) == 1
    assert run.network()(torch.ones(1, 4)).isfinite()


def test_a_call_leaves_the_parts_of_one_that_runs_in_its_directory_alone(tmp_path):
    def intrude(event):
        if isinstance(event, RunStarted):
            before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("problem_*.pkl")}
            for changed in ({}, {"loss": functional.l1_loss, "replace": True}):
                with pytest.raises(RunError, match=f"run is in use by process {os.getpid()}"):
                    tune(tmp_path, Tied, of_tensors(4), **changed)
            assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("problem_*.pkl")} == before

    with observed_by(intrude):
        tune(tmp_path, Tied, of_tensors(4))


@pytest.mark.slow
def test_a_compiled_network_trains_and_is_judged_as_it_was_written(tmp_path):
    def compiled():
        return torch.compile(logits(), backend="eager")

    data = {key: TensorDataset(one[:][0], one[:][0][:, :3]) for key, one in of_tensors(4).items()}
    run = tune(tmp_path, compiled, data, search={"operators": {"activation": 1}})
    assert run.best.valid_loss == pytest.approx(loss_of(run, data["valid"]), rel=1e-4)


def test_the_first_screen_of_the_report_shows_loss_and_metric(tmp_path):
    run = tune(tmp_path, normalised, of_tensors(4))
    first = (run.run_dir / "report.html").read_text().split("</section>")[0]
    assert "<h1>Tuned network: run</h1>" in first
    assert f"<p>validation mae {run.scores['mae']:.4f}" in first


def test_a_run_is_opened_and_replayed_wherever_its_folder_is_moved_to(tmp_path):
    run = tune(tmp_path, Tied, of_tensors(4))
    moved = miha.Run.open(run.run_dir.rename(tmp_path / "moved"))
    assert moved.best.valid_loss == pytest.approx(loss_of(moved, of_tensors(4)["valid"]), rel=1e-4)
    replayed = miha.optimize(replay_config(moved.run_dir, tmp_path / "replayed"))
    assert loss_of(replayed, of_tensors(4)["valid"]) < replayed.history.valid_loss.iloc[0]


def valid_loss(output, target):
    return (output - target).abs().max()


def test_a_metric_that_is_called_as_the_loss_does_not_take_its_place(tmp_path):
    run = tune(tmp_path, Tied, of_tensors(4), metric=valid_loss)
    assert run.scores["valid_loss"] == run.best.valid_loss < run.scores["metric_valid_loss"]
    assert run.history.metric_valid_loss.notna().all()


def test_a_finished_run_is_opened_from_its_directory(tmp_path):
    run = tune(tmp_path, normalised, of_tensors(4))
    opened = miha.Run.open(run.run_dir)
    assert opened.best == run.best
    pd.testing.assert_frame_equal(opened.history, run.history)
    with pytest.raises(ArchiveError, match="no such archive"):
        miha.Run.open(tmp_path / "nowhere")
