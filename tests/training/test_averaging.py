"""Means of weights; that a run with them continues with the same bits is in test_faults.py."""

import pytest
import torch
from torch import nn

import miha
from miha.events import EpochEnded, observed_by
from miha.plan import Plan
from miha.problems.evaluation import trained_network, validate
from miha.problems.samples import Samples
from miha.records.archive import read_archive
from miha.training.averaging import RunningMean, estimate_batch_norm, mean_weights
from miha.training.loop import Span
from miha.training.stage import run_stage
from tests.support.runs import cutting, initial_of
from tests.support.tiny import TinyNet, TinyProblem

AVERAGING = {"averaging": 1.0}


def test_weights_are_averaged_and_counters_are_those_of_the_first():
    states = [{"weight": torch.tensor([1.0, 2.0]), "steps": torch.tensor(3)} for _ in range(2)]
    states[1] = {"weight": torch.tensor([3.0, 6.0]), "steps": torch.tensor(9)}
    mean = mean_weights(states)
    assert mean["weight"].tolist() == [2.0, 4.0]
    assert mean["steps"] == 3


def test_statistics_of_batch_normalisation_are_those_of_the_averaged_weights():
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    inputs = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)) * 3 + 5
    estimate_batch_norm(network, TinyProblem(), Samples(inputs, torch.zeros(64)), 16, "cpu")
    assert network[1].running_mean.tolist() == pytest.approx(network[0](inputs).mean(0).tolist(), rel=1e-4)
    assert network[1].momentum == 0.1
    assert not network.training


def test_a_running_mean_counts_all_steps_alike_until_its_horizon_and_then_forgets():
    network, mean = (nn.Linear(1, 1, bias=False) for _ in range(2))
    running, seen = RunningMean(network, mean, horizon=4, steps=0), []
    for value in range(1, 9):
        network.weight.data.fill_(value)
        running.update()
        seen.append(mean.weight.item())
    expected = 2.5
    for value in range(5, 9):
        expected += (value - expected) / 4
    assert seen[:4] == [1.0, 1.5, 2.0, 2.5]
    assert seen[-1] == pytest.approx(expected)


def test_the_mean_is_judged_and_kept_and_training_goes_on_from_the_weights_themselves(tiny_config):
    plain, averaged = (
        miha.optimize(tiny_config(name, schedule={"cycles": 0, "initial_epochs": 4, **also}))
        for name, also in (("plain", {}), ("averaged", AVERAGING))
    )
    for stage in ("init", "final"):
        raw, kept = (read_archive(run.run_dir / f"model/model_{stage}.zip") for run in (plain, averaged))
        assert all(torch.equal(raw.weights[name], tensor) for name, tensor in kept.raw_weights.items())
        assert all(torch.equal(tensor, kept.optimizer_state[key]) for key, tensor in raw.optimizer.items())
        assert not torch.equal(raw.weights["head.weight"], kept.weights["head.weight"])
        problem = TinyProblem()
        loss = validate(trained_network(problem, kept), problem, problem.load(averaged.run_dir, 0).valid).loss
        assert loss == kept.manifest.record.valid_loss != raw.manifest.record.valid_loss
    assert read_archive(averaged.model).raw_weights.keys() == kept.weights.keys()


def test_a_stage_with_averaging_continues_from_its_checkpoint_bit_for_bit(tiny_config):
    plan = Plan.of(tiny_config(schedule={"averaging": 1.5}))
    spec = initial_of(plan).model_copy(update={"span": Span(1, 6), "checkpoint_every": 0.0})
    run_stage(spec)
    undisturbed = spec.archive.read_bytes()
    spec.archive.unlink()
    with observed_by(cutting(EpochEnded, "init")), pytest.raises(KeyboardInterrupt):
        run_stage(spec)
    assert spec.checkpoint.exists()
    run_stage(spec)
    assert spec.archive.read_bytes() == undisturbed


def test_a_run_starts_from_the_mean_of_a_pretrained_network(tiny_config):
    earlier = miha.optimize(tiny_config("earlier", schedule={"cycles": 0, **AVERAGING}))
    later = miha.optimize(tiny_config("later", schedule={"cycles": 0}, pretrained=earlier.model))
    before, base = (read_archive(path) for path in (earlier.model, later.run_dir / "model/model_base.zip"))
    assert all(torch.equal(base.weights[name], tensor) for name, tensor in before.weights.items())
    assert base.manifest.record.valid_loss == before.manifest.record.valid_loss


class NormalisedNet(TinyNet):
    def __init__(self):
        super().__init__()
        self.body["second"] = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16))


class NormalisedProblem(TinyProblem):
    def build_network(self):
        return NormalisedNet()


def test_a_network_with_batch_normalisation_is_kept_with_statistics_of_the_mean(tiny_config):
    run = miha.optimize(tiny_config(problem=NormalisedProblem(), schedule={"cycles": 1, "soups": True, **AVERAGING}))
    problem, archive = NormalisedProblem(), read_archive(run.run_dir / "model/model_final.zip")
    name = "body.second.1.running_mean"
    network, batch_size = trained_network(problem, archive), archive.manifest.record.hyperparameters.batch_size
    estimate_batch_norm(network, problem, problem.load(run.run_dir, 0).train, batch_size, "cpu")
    assert torch.allclose(network.state_dict()[name], archive.weights[name], rtol=1e-4)
    assert not torch.allclose(archive.raw_weights[name], archive.weights[name], rtol=1e-4)


def test_without_averaging_the_run_is_described_as_before(tiny_config):
    assert "averaging" not in Plan.of(tiny_config()).decisive()["schedule"]
    assert Plan.of(tiny_config(schedule=AVERAGING)).decisive()["schedule"]["averaging"] == 1.0
