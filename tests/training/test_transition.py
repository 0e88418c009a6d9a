import pytest
import torch
from torch import nn

import miha
from miha.events import EpochEnded, observed_by
from miha.evolution.hyperparameters.activation import set_activations
from miha.plan import Plan
from miha.problems.evaluation import trained_network, validate
from miha.records.archive import read_archive
from miha.replay import replay_config
from miha.training.stage import _Stage, run_stage
from miha.training.transition import Blend, Transition
from tests.support.runs import initial_of
from tests.support.tiny import TinyProblem

ACTIVATIONS_ALONE = {"operators": {"activation": 1.0}}
GENTLE = {"transition": 2, "candidate_epochs": 3}


@pytest.fixture
def swapped(tiny_config):
    """A candidate that was given another activation, its parent's archive there."""
    plan = Plan.of(tiny_config(schedule=GENTLE, search=ACTIVATIONS_ALONE, run={"checkpoint_every": 0}))
    return plan.population(1, run_stage(initial_of(plan)), [])[1]


def written(inplace=False):
    return nn.Sequential(nn.Linear(3, 5), nn.LeakyReLU(0.3, inplace=inplace))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_layer_goes_over_from_its_old_activation_to_the_new_in_a_straight_line(inplace):
    network, inputs = written(inplace), torch.randn(7, 3)
    hidden = network[0](inputs)
    old, new = nn.functional.leaky_relu(hidden, 0.3), torch.tanh(hidden)
    former = Transition(epochs=2, activations={"1": "LeakyReLU"}).former(network)
    set_activations(network, {"1": "Tanh"})
    blend = Blend(network, former, 2)
    for done, share in ((0, 1.0), (0.5, 0.75), (1, 0.5), (2, 0.0), (2.5, 0.0)):
        blend.reach(done)
        assert torch.allclose(network(inputs), share * old + (1 - share) * new, atol=1e-6)
    network(inputs).sum().backward()
    assert not network[1]._forward_hooks, "then it is the plain network"


def test_the_way_back_to_an_activation_that_computes_in_place_leaves_the_input_to_the_old_one():
    network, inputs = written(inplace=True), torch.randn(7, 3)
    hidden = network[0](inputs).detach()
    blend = Blend(network, Transition(epochs=1, activations={"1": "Tanh"}).former(network), 1)
    blend.reach(0)
    assert torch.allclose(network(inputs), torch.tanh(hidden), atol=1e-6)
    network(inputs).sum().backward()


def test_a_candidate_starts_as_its_parent_and_ends_as_the_plain_network_of_its_archive(swapped):
    (layer,) = swapped.transition.activations
    assert (swapped.transition.epochs, layer) == (2, swapped.change.target)
    record = run_stage(swapped)
    archive, problem = read_archive(swapped.archive), TinyProblem()
    assert archive.weights.keys() == problem.build_network().state_dict().keys()
    plain = validate(trained_network(problem, archive), problem, problem.load(None, 0).valid)
    assert plain.loss == record.valid_loss
    at_once = swapped.model_copy(update={"transition": None})
    assert at_once.digest != swapped.digest
    assert run_stage(at_once).losses != record.losses


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_stage_that_was_interrupted_in_a_transition_or_after_it_goes_on_with_the_same_bits(swapped, epochs):
    run_stage(swapped)
    undisturbed = swapped.archive.read_bytes()
    swapped.archive.unlink()

    def cut(event):
        if isinstance(event, EpochEnded) and event.epoch.epoch == swapped.span.first + epochs - 1:
            raise KeyboardInterrupt

    with observed_by(cut), pytest.raises(KeyboardInterrupt):
        run_stage(swapped)
    assert swapped.checkpoint.exists()
    run_stage(swapped)
    assert swapped.archive.read_bytes() == undisturbed


def test_the_mean_of_the_weights_goes_over_with_them(tiny_config):
    plan = Plan.of(tiny_config(schedule={**GENTLE, "averaging": 1.0}, search=ACTIVATIONS_ALONE))
    stage = _Stage(plan.population(1, run_stage(initial_of(plan)), [])[1])
    stage.average.mean.load_state_dict(stage.network.state_dict())
    inputs, outputs = torch.randn(9, 2), []
    for epochs_done in (0, 1, 2):
        for blend in stage.blends:
            blend.reach(epochs_done)
        outputs.append(stage.average.mean.eval()(inputs))
        assert torch.equal(outputs[-1], stage.network.eval()(inputs))
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-3)


def test_only_stages_whose_activations_differ_from_their_parent_s_have_a_transition_and_a_replay_follows_it(
    tiny_config, tmp_path
):
    operators = {"activation": 1.0, "lr": 1.0}
    config = tiny_config(schedule=GENTLE, search={"operators": operators}, seed=5, fitness={"noise": 0})
    run, plan = miha.optimize(config), Plan.of(config)
    won = run.population[run.population.selected]
    assert "activation" in set(won.operator), "the seed is chosen so that one wins"
    specs = plan.population(1, run_stage(initial_of(plan)), [])
    gentle = {spec.change.operator: spec.transition is not None for spec in specs}
    assert gentle == {"": False, "activation": True, "lr": False}
    replayed = miha.optimize(replay_config(run.run_dir, tmp_path / "replay"))
    final = [read_archive(one.run_dir / "model/model_final.zip").weights for one in (run, replayed)]
    assert all(torch.equal(final[0][name], final[1][name]) for name in final[0])


def test_a_run_without_transitions_is_the_run_it_was_before_there_were_any(tiny_config):
    plan = Plan.of(tiny_config())
    assert "transition" not in plan.decisive()["schedule"]
    assert Plan.of(tiny_config(schedule=GENTLE)).decisive()["schedule"]["transition"] == 2
