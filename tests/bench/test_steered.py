"""A training that another tuner steers has the samples, the network and the arithmetic of a run of MIHA."""

import pytest
import torch

from bench.steered import Space, Steered
from bench.tuning_tasks import ADAMW, BareUNet, NoisyQuadratic
from miha import RunConfig, optimize
from miha.evolution.steps import Step
from miha.records.archive import read_archive
from miha.training.loop import Span

SGD = {"optimizer": "SGD", "lr": 0.02, "momentum": 0.5, "batch_size": 16}


def run_of(tmp_path, problem=None, start=None, **operators):
    operators = operators or {"lr": 1.0, "batch_size": 1.0, "momentum": 1.0}
    return RunConfig(
        problem=problem or NoisyQuadratic(train=60),
        run_dir=tmp_path / "run",
        start=start or SGD,
        search={"operators": operators},
        run={"workers": 1, "device": "cpu", "precision": "float32", "threads": 1},
    )


def test_the_space_is_what_the_operators_of_the_run_may_change(tmp_path):
    space = Space.of(run_of(tmp_path))
    assert set(space.numbers) == {"lr", "batch_size", "momentum"}
    assert space.choices == {}
    assert space.beginning() == {"lr": 1.0, "batch_size": 16, "momentum": 0.5}
    assert space.point(space.beginning()) == space.start


def test_layers_losses_and_optimizers_are_choices(tmp_path, simulated):
    every = dict.fromkeys(("optimizer", "activation", "loss", "lr", "dropout", "augmentation"), 1.0)
    problem = BareUNet(data=simulated, train_samples=4, valid_samples=2)
    space = Space.of(run_of(tmp_path, problem, {**ADAMW, "batch_size": 4}, **every))
    assert "optimizer" in space.choices
    assert "loss" in space.choices
    assert set(space.start.activations) < set(space.choices)
    assert space.point(space.beginning()) == space.start


def test_numbers_are_put_into_their_ranges_and_a_rate_is_a_factor_of_the_optimizers_own(tmp_path):
    space = Space.of(run_of(tmp_path, None, SGD, optimizer=1.0, lr=1.0, momentum=1.0, batch_size=1.0))
    assert space.point({"lr": 2.0}).lr == pytest.approx(0.04)
    assert space.point({"lr": 2.0, "optimizer": "Adam"}).lr == pytest.approx(0.002)
    assert space.point({"momentum": 7.0}).momentum == 0.99
    assert space.point({"batch_size": 20.4}).batch_size == 20
    assert space.point({"optimizer": "Adagrad", "momentum": 0.9}).momentum is None


def test_an_unchanged_training_has_the_bits_of_a_run_along_the_same_steps(tmp_path):
    config = run_of(tmp_path)
    steps = (Step(epochs=1, set=Space.of(config).start.model_dump()), Step(epochs=2, annealing=True))
    run = optimize(config.model_copy(update={"replay": steps}))
    steered = Steered(config, Space.of(config).start, draw=0)
    steered.network.load_state_dict(read_archive(run.run_dir / "model" / "model_base.zip").weights)
    list(steered.train(Span(1, 1)))
    list(steered.train(Span(2, 3, annealing=True)))
    expected = read_archive(run.run_dir / "model" / "model_final.zip").weights
    found = steered.network.state_dict()
    assert all(torch.equal(found[name], weights) for name, weights in expected.items())


def test_a_member_goes_on_from_anothers_archive_with_its_own_hyperparameters(tmp_path):
    config, space = run_of(tmp_path), Space.of(run_of(tmp_path))
    donor = Steered(config, space.start, draw=1)
    list(donor.train(Span(1, 2)))
    donor.save(tmp_path / "donor.zip")
    member = Steered(config, point := space.point({"lr": 3.0}), draw=2)
    member.restore(tmp_path / "donor.zip")
    assert member.point == point
    assert [epoch.epoch for epoch in member.epochs] == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(member.network.parameters(), donor.network.parameters(), strict=True))
    assert next(member.train(Span(3, 3))).lr == pytest.approx(0.06)


def test_the_bare_unet_sees_the_scene_and_its_similar_days_and_no_base(tmp_path, simulated):
    problem = BareUNet(data=simulated, train_samples=4, valid_samples=2, analogues=2)
    problem.prepare(tmp_path, 0, lambda function, items: [function(item) for item in items])
    inputs = problem.load(tmp_path, 0).train.tensors.inputs
    assert inputs.shape[:2] == (4, 6)
    assert set(inputs[:, 3:].unique().tolist()) == {0.0, 1.0}
    assert not inputs[:, :3][inputs[:, 3:] == 0].any(), "0 stands for what is hidden"
    assert problem.build_network()(inputs).shape == (4, 1, *inputs.shape[2:])
