import pytest
import torch
from torch import nn

import miha
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.hyperparameters.activation import Mixed, find_activations, set_activations
from miha.evolution.mixture import Mixture, channel_axis
from miha.evolution.point import Hyperparameters, SearchSpace
from miha.problems.evaluation import trained_network, validate
from miha.records.archive import read_archive
from miha.replay import replay_config
from tests.support.tiny import TinyNet, TinyProblem


def test_one_of_every_two_neighbouring_channels_takes_the_other_activation():
    inputs = -torch.rand(3, 10) - 0.1
    output = Mixture(nn.ReLU(), nn.Identity(), draw=3, axis=-1)(inputs)
    other = output == inputs
    assert torch.equal(other, other[:1].expand(3, 10)), "the same channels of all samples"
    assert other[0].reshape(5, 2).sum(1).tolist() == [1] * 5
    assert torch.equal(output[~other], torch.zeros(15)), "the rest keeps the first"
    draws = {tuple(Mixture(nn.ReLU(), nn.Identity(), draw, -1).drawn[:10].tolist()) for draw in range(1, 9)}
    assert len(draws) > 4


@pytest.mark.parametrize(
    ("build", "shape", "axis"),
    [
        (lambda: (nn.Linear(4, 6),), (100, 4), -1),
        (lambda: (nn.Linear(4, 6), nn.LayerNorm(6)), (100, 7, 4), -1),
        (lambda: (nn.Conv1d(4, 6, 1),), (100, 4, 7), 1),
        (lambda: (nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)), (100, 4, 3, 7), 1),
        (lambda: (nn.ConvTranspose2d(4, 6, 2), nn.GroupNorm(2, 6), nn.Dropout(0.0)), (100, 4, 3, 7), 1),
        (lambda: (nn.Conv2d(4, 8, 1), nn.Flatten(), nn.Linear(168, 6)), (100, 4, 3, 7), -1),
    ],
)
def test_channels_are_told_by_the_layer_before(build, shape, axis):
    torch.manual_seed(0)
    layers = build()
    network, path = nn.Sequential(*layers, nn.ReLU()), str(len(layers))
    assert channel_axis(network, path) == axis
    set_activations(network, {path: "ReLU+Identity#1"})
    output = network(torch.randn(shape)).movedim(axis, 0).flatten(1)
    assert ((output < 0).any(1)).sum() == 3, "half of the six channels"


def test_both_activations_are_as_written_and_leave_their_input_as_it_is():
    network = nn.Sequential(nn.Linear(2, 4), nn.LeakyReLU(0.3, inplace=True))
    set_activations(network, {"1": "LeakyReLU+Tanh#2"})
    assert find_activations(network) == {"1": "LeakyReLU+Tanh#2"}
    assert (network[1].first.negative_slope, network[1].first.inplace) == (0.3, False)
    network(torch.randn(3, 2)).sum().backward()
    set_activations(network, {"1": "Tanh"})
    assert find_activations(network) == {"1": "Tanh"}


@pytest.mark.parametrize("name", ["ReLU+Tanh", "ReLU#1", "ReLU+Tanh+ELU#1", "ReLU+Softmax#1", "ReLU+Relu#1", ""])
def test_a_name_that_says_no_two_activations_and_a_draw_is_refused(name):
    with pytest.raises(ValueError, match="unknown activation"):
        Hyperparameters(optimizer="Adam", batch_size=1, activations={"act": name})
    assert str(Mixed.parse("ReLU+Tanh#12")) == "ReLU+Tanh#12"


def test_nothing_is_mixed_unless_it_is_asked_for():
    assert "neuron_activation" in HYPERPARAMETERS
    assert "neuron_activation" not in SearchSpace().operators


@pytest.fixture
def run(tiny_config):
    """A run that mixed activations alone, and of which one is in the best model."""
    schedule = {"cycles": 1, "candidate_epochs": 1}
    search = {"operators": {"neuron_activation": 1.0}}
    config = tiny_config(schedule=schedule, search=search, start={"lr": 0.01}, fitness={"noise": 0}, seed=8)
    run = miha.optimize(config)
    assert any("+" in name for name in run.best.hyperparameters.activations.values()), "the seed is chosen for it"
    return run


def test_a_run_keeps_what_it_mixed_in_its_archives_tables_and_words(run):
    archive, problem = read_archive(run.model), TinyProblem()
    valid = problem.load(None, 0).valid
    assert validate(trained_network(problem, archive), problem, valid).loss == run.best.valid_loss
    TinyNet().load_state_dict(archive.weights)
    won = run.population[run.population.selected & (run.population.operator == "neuron_activation")].iloc[-1]
    assert run.best.hyperparameters.activations[won.target] == won.after
    assert set(run.population[run.population.candidate > 0].operator) == {"neuron_activation"}


def test_a_replay_mixes_the_same_channels(run, tmp_path):
    replayed = miha.optimize(replay_config(run.run_dir, tmp_path / "replay"))
    final = [read_archive(one.run_dir / "model/model_final.zip").weights for one in (run, replayed)]
    assert all(torch.equal(final[0][name], final[1][name]) for name in final[0])
