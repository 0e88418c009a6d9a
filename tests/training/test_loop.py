import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from tiny import TinyProblem, TunableProblem
from torch import nn

from miha.evolution.hyperparameters import Hyperparameters
from miha.problems.base import Batch, Data, Samples
from miha.training.loop import network_to_device, train_epochs, validate
from miha.training.optimizers import build_optimizer

STILL = 1e-30  # a learning rate that changes nothing


def train(problem, network, batch_size=16, lr=1e-3, optimizer="Adam", epochs=2, seed=0, point=None, **options):
    point = point or Hyperparameters(optimizer=optimizer, lr=lr, batch_size=batch_size, activations={})
    return list(
        train_epochs(
            network,
            build_optimizer(network, point),
            problem,
            problem.load(None, 0),
            point,
            seed=seed,
            first=1,
            last=epochs,
            device="cpu",
            precision="float32",
            **options,
        )
    )


@pytest.fixture
def network(tiny):
    torch.manual_seed(0)
    return tiny.build_network()


def test_the_loss_is_the_mean_per_sample_whatever_the_batch_size(tiny, network):
    """70 samples: the last batch is short for every one of these sizes."""
    network.dropout.p = 0.0
    losses = {size: train(tiny, network, size, lr=STILL, epochs=1)[0].train_loss for size in (1, 16, 32, 69, 70, 200)}
    data = tiny.load(None, 0).train.tensors
    expected = float(((network(data.inputs) - data.target) ** 2).mean().detach())
    assert losses == pytest.approx(dict.fromkeys(losses, expected), rel=1e-5)


def test_the_validation_loss_is_the_mean_per_target_pixel(tiny):
    """Batches with few and many target pixels weigh by their pixels."""

    class Zero(nn.Module):
        def forward(self, inputs):
            return torch.zeros(len(inputs), 4, 4)

    from miha.problems import GapFill

    target = torch.ones(300, 4, 4)
    target[:10] = 5.0
    mask = torch.zeros(300, 4, 4)
    mask[:10] = 1.0
    mask[10:, 0, 0] = 1.0
    loss, metric = validate(Zero(), GapFill(), Samples(torch.zeros(300, 1, 4, 4), target, mask), "cpu")
    assert loss == metric == pytest.approx((160 * 5 + 290) / 450)


def test_order_and_dropout_of_an_epoch_depend_on_seed_and_number_alone(tiny):
    def trained(first):
        torch.manual_seed(0)
        network = tiny.build_network()
        torch.manual_seed(first)  # whatever the caller's generator holds
        return train(tiny, network, seed=5)

    assert trained(1) == trained(2)


def test_no_global_generator_is_moved(tiny, network):
    np.random.seed(1)
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train(tiny, network)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_training_stops_once_a_loss_is_not_finite(tiny, network):
    epochs = train(tiny, network, lr=1e30, optimizer="SGD", epochs=5)
    assert len(epochs) < 5
    assert epochs[-1].valid_loss is None or epochs[-1].train_loss is None


def test_annealing_lets_the_learning_rate_fall_along_a_cosine(tiny, network, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self, closure=None: seen.append(self.param_groups[0]["lr"]))
    train(tiny, network, batch_size=35, lr=1.0, optimizer="SGD", epochs=2, annealed=(1, 2))
    assert seen == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def test_shuffled_batches_hold_every_sample_once():
    numbers = torch.arange(1000)
    samples = Samples(numbers[:, None].float(), numbers)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    batches = list(samples.batches(64, order))
    assert [len(batch.inputs) for batch in batches] == [64] * 15 + [40]
    assert torch.equal(torch.cat([batch.target for batch in batches]), order)


def test_the_metric_is_told_in_the_units_of_the_data(tiny, network, monkeypatch):
    plain = train(tiny, network, lr=STILL, epochs=1)[0].metrics["mae"]
    data = tiny.load(None, 0)
    monkeypatch.setattr(type(tiny), "load", lambda self, cache, seed: Data(data.train, data.valid, unit=10.0))
    assert train(tiny, network, lr=STILL, epochs=1)[0].metrics["mae"] == pytest.approx(10 * plain)


def test_bfloat16_agrees_with_float32(tiny):
    curves = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        network = tiny.build_network()
        point = Hyperparameters(optimizer="Adam", lr=1e-2, batch_size=16, activations={})
        epochs = train_epochs(
            network,
            build_optimizer(network, point),
            tiny,
            tiny.load(None, 0),
            point,
            seed=0,
            first=1,
            last=10,
            device="cpu",
            precision=precision,
        )
        curves[precision] = [epoch.valid_loss for epoch in epochs]
    assert curves["bfloat16"] != curves["float32"]
    assert curves["bfloat16"] == pytest.approx(curves["float32"], rel=0.2)


def test_batches_carry_their_mask():
    samples = Samples(torch.zeros(5, 1, 2, 2), torch.zeros(5, 2, 2), torch.arange(5.0)[:, None, None].expand(5, 2, 2))
    batch: Batch = next(samples.batches(2, torch.tensor([4, 0, 1, 2, 3])))
    assert batch.mask is not None
    assert batch.mask[:, 0, 0].tolist() == [4.0, 0.0]


class Witness(TunableProblem):
    """Keeps the inputs that training was given."""

    given: ClassVar[list[torch.Tensor]] = []

    def training_loss(self, output, batch, name):
        self.given.append(batch.inputs)
        return super().training_loss(output, batch, name)


def given_inputs(augmentation, batch_size):
    Witness.given.clear()
    torch.manual_seed(0)
    network = Witness().build_network()
    point = Hyperparameters(
        optimizer="Adam", lr=STILL, batch_size=batch_size, activations={}, augmentation=augmentation, loss="mse"
    )
    train(Witness(), network, epochs=1, point=point)
    return torch.cat(Witness.given)


def test_siblings_distort_a_sample_alike_whatever_their_batch_size():
    assert torch.equal(given_inputs(0.5, 16), given_inputs(0.5, 35))


def test_siblings_share_order_and_fixed_augmentation_whatever_their_strength():
    """Distortion moves a point in proportion to its strength, from the very place where no distortion leaves it."""
    none, half, full = (given_inputs(strength, 16) for strength in (0.0, 0.5, 1.0))
    assert torch.allclose(half - none, (full - none) / 2, atol=1e-6)
    assert not torch.equal(full, none)


def test_distortion_is_not_called_at_strength_0():
    TunableProblem.used_strengths.clear()
    given_inputs(0.0, 16)
    assert TunableProblem.used_strengths == []


def test_a_problem_that_only_has_losses_of_its_own_trains_on_them(tiny, network):
    batch = Batch(torch.zeros(4, 2), torch.arange(4.0))
    output = torch.ones(4)
    assert tiny.offered_losses() == ()
    assert tiny.training_loss(output, batch, None) == tiny.losses(output, batch)


def test_the_validation_loss_is_the_same_whatever_loss_is_trained_on():
    curves = {}
    for loss in ("mse", "l1"):
        torch.manual_seed(0)
        network = TunableProblem().build_network()
        network.dropout.p = 0.0
        point = Hyperparameters(optimizer="Adam", lr=STILL, batch_size=16, activations={}, loss=loss)
        curves[loss] = train(TunableProblem(), network, epochs=1, point=point)[0]
    assert curves["mse"].valid_loss == curves["l1"].valid_loss
    assert curves["mse"].train_loss != curves["l1"].train_loss


class Pictures(TinyProblem):
    """Images of three colours, and a network whose `view` wants them in the usual order of memory."""

    def load(self, cache, seed):
        inputs = torch.linspace(-1, 1, 12 * 3 * 16).reshape(12, 3, 4, 4)
        samples = Samples(inputs, inputs.mean(dim=(1, 2, 3)))
        return Data(samples, samples)

    def build_network(self):
        return Views()


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(64, 1)
        self.given = set()

    def forward(self, inputs):
        self.given.add(inputs.is_contiguous(memory_format=torch.channels_last))
        return self.head(self.convolution(inputs).view(len(inputs), -1))[:, 0]


class PicturesLast(Pictures):
    channels_last: ClassVar[bool] = True


def test_images_and_weights_keep_the_usual_order_of_memory():
    network = network_to_device(Views(), "cpu", Pictures.channels_last)
    assert all(math.isfinite(epoch.valid_loss) for epoch in train(Pictures(), network))
    assert network.given == {False}


def test_images_and_weights_are_in_channels_last_order_if_their_problem_says_so():
    network = network_to_device(Views(), "cpu", PicturesLast.channels_last)
    assert network.convolution.weight.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view"):
        train(PicturesLast(), network)
    assert network.given == {True}
