import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from miha.evolution.point import Hyperparameters
from miha.gapfill.problem import GapFill
from miha.problems.evaluation import validate
from miha.problems.samples import Batch, Data, Samples
from miha.training.compute import Compute
from miha.training.loop import Span, Trainer, network_to_device
from miha.training.optimizers import build_optimizer
from tests.support.tiny import TinyProblem, TunableProblem

STILL = 1e-30  # a learning rate that changes nothing


def train(problem, network, epochs=2, *, seed=0, span=None, done=0, compute=Compute(), **point):
    """Train with Adam at 0.001 in batches of 16, but for what ``point`` says otherwise; returns the epochs."""
    hyperparameters = Hyperparameters(**{"optimizer": "Adam", "lr": 1e-3, "batch_size": 16, **point})
    optimizer = build_optimizer(network, hyperparameters)
    trainer = Trainer(network, optimizer, problem, problem.load(None, 0), hyperparameters, seed, compute)
    return list(trainer.epochs(span or Span(1, epochs), done))


@pytest.fixture
def network(tiny):
    torch.manual_seed(0)
    return tiny.build_network()


def test_the_loss_is_the_mean_per_sample_whatever_the_batch_size(tiny, network):
    """70 samples: the last batch is short for every one of these sizes."""
    network.dropout.p = 0.0
    losses = {
        size: train(tiny, network, 1, batch_size=size, lr=STILL)[0].train_loss for size in (1, 16, 32, 69, 70, 200)
    }
    data = tiny.load(None, 0).train.tensors
    expected = float(((network(data.inputs) - data.target) ** 2).mean().detach())
    assert losses == pytest.approx(dict.fromkeys(losses, expected), rel=1e-5)


def test_the_validation_loss_is_the_mean_per_target_pixel(tiny):
    """Batches with few and many target pixels weigh by their pixels."""

    class Zero(nn.Module):
        def forward(self, inputs):
            return torch.zeros(len(inputs), 4, 4)

    target = torch.ones(300, 4, 4)
    target[:10] = 5.0
    mask = torch.zeros(300, 4, 4)
    mask[:10] = 1.0
    mask[10:, 0, 0] = 1.0
    validated = validate(Zero(), GapFill(), Samples(torch.zeros(300, 1, 4, 4), target, mask[:, None], [10, 290]), "cpu")
    assert validated.loss == validated.metric == pytest.approx((160 * 5 + 290) / 450)
    assert validated.shares == pytest.approx((160 * 5 / 450, 290 / 450))


def test_order_and_dropout_of_an_epoch_depend_on_seed_and_number_alone(tiny):
    def trained(**settings):
        torch.manual_seed(0)
        network = tiny.build_network()
        torch.manual_seed(settings.pop("callers", 1))  # whatever the caller's generator holds
        return [epoch.train_loss for epoch in train(tiny, network, **settings)]

    assert trained(seed=5) == trained(seed=5, callers=2)
    assert trained(seed=5) != trained(seed=6)
    first, second = (trained(span=Span(number, number)) for number in (1, 2))
    assert first != second
    assert trained(span=Span(1, 2), done=1) == second, "an epoch knows nothing of those before it"


def test_no_global_generator_is_moved(tiny, network):
    np.random.seed(1)
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    train(tiny, network)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


class Calibrated(TinyProblem):
    """Sets the last bias by validation samples."""

    def calibrate(self, network, samples, device):
        assert len(samples) == len(self.load(None, 0).valid)
        assert device == "cpu"
        with torch.no_grad():
            [*network.parameters()][-1].fill_(1000.0)


def test_a_network_is_calibrated_after_each_epoch_and_before_it_is_judged(tiny, network):
    epochs = train(Calibrated(), network, 2)
    assert ([*network.parameters()][-1] == 1000.0).all()
    assert all(epoch.valid_loss > 1e5 for epoch in epochs)


def test_training_stops_once_a_loss_is_not_finite(tiny, network):
    epochs = train(tiny, network, 5, lr=1e30, optimizer="SGD")
    assert len(epochs) < 5
    assert epochs[-1].valid_loss is None or epochs[-1].train_loss is None
    assert epochs[-1].shares == ()


def test_epoch_0_is_validated_and_trains_nothing(tiny, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    (epoch,) = train(tiny, network, span=Span(0, 0))
    assert (epoch.epoch, epoch.train_loss, epoch.lr) == (0, None, 1e-3)
    assert epoch.valid_loss == validate(network, tiny, tiny.load(None, 0).valid).loss
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_epochs_after_epoch_0_are_those_of_a_training_that_begins_with_1(tiny):
    curves = []
    for span in (Span(0, 3), Span(1, 3)):
        torch.manual_seed(0)
        curves.append(train(tiny, tiny.build_network(), span=span))
    assert curves[0][1:] == curves[1]


def test_the_shares_of_every_epoch_add_up_to_its_validation_loss(tiny, network):
    for epoch in train(tiny, network, span=Span(0, 3)):
        assert len(epoch.shares) == 20
        assert sum(epoch.shares) == pytest.approx(epoch.valid_loss, rel=1e-12)


@pytest.fixture
def rates():
    """Learning rates that steps were taken with, read from PyTorch's own hook."""
    seen = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"]))
    yield seen
    hook.remove()


def test_annealing_lets_the_learning_rate_fall_along_a_cosine(tiny, network, rates):
    epochs = train(tiny, network, batch_size=35, lr=1.0, optimizer="SGD", span=Span(4, 5, annealing=True))
    cosine = [0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates == pytest.approx(cosine)
    assert [epoch.lr for epoch in epochs] == pytest.approx([cosine[0], cosine[2]])


def test_annealing_goes_on_where_it_was_after_epochs_that_are_done(tiny, network, rates):
    train(tiny, network, batch_size=35, lr=1.0, optimizer="SGD", span=Span(4, 5, annealing=True), done=1)
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 4)) for step in (2, 3)])


def test_without_annealing_the_learning_rate_stays(tiny, network, rates):
    epochs = train(tiny, network, batch_size=35, lr=0.5, optimizer="SGD", span=Span(4, 6), done=1)
    assert [epoch.epoch for epoch in epochs] == [5, 6]
    assert rates == [0.5] * 4
    assert [epoch.lr for epoch in epochs] == [0.5] * 2


def test_shuffled_batches_hold_every_sample_once():
    numbers = torch.arange(1000)
    samples = Samples(numbers[:, None].float(), numbers)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    batches = list(samples.batches(64, order))
    assert [len(batch.inputs) for batch in batches] == [64] * 15 + [40]
    assert torch.equal(torch.cat([batch.target for batch in batches]), order)


class TenthsProblem(TinyProblem):
    """The same data, declared in tenths of their unit."""

    def load(self, cache, seed):
        return super().load(cache, seed)._replace(unit=10.0)


def test_the_metric_has_the_units_of_the_data(tiny, network):
    plain, tenths = (train(problem, network, 1, lr=STILL)[0] for problem in (tiny, TenthsProblem()))
    assert tenths.metrics["mae"] == pytest.approx(10 * plain.metrics["mae"])
    assert tenths.valid_loss == plain.valid_loss


def test_bfloat16_agrees_with_float32(tiny):
    curves = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        epochs = train(tiny, tiny.build_network(), 10, lr=1e-2, compute=Compute(precision=precision))
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
    train(Witness(), network, 1, lr=STILL, batch_size=batch_size, augmentation=augmentation, loss="mse")
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
        curves[loss] = train(TunableProblem(), network, 1, lr=STILL, loss=loss)[0]
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


def weights_after(problem, **point):
    torch.manual_seed(0)
    network = problem.build_network()
    network.dropout.p = 0.0
    epochs = train(problem, network, 1, **point)
    return epochs, torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class InPieces(TinyProblem):
    largest_piece: ClassVar[int | None] = 5


class Clipped(TinyProblem):
    max_gradient_norm: ClassVar[float | None] = 0.01


def test_a_batch_in_pieces_trains_as_the_whole_batch_does(tiny):
    (whole, expected), (pieces, found) = (
        weights_after(problem, optimizer="SGD", lr=0.1) for problem in (tiny, InPieces())
    )
    assert torch.allclose(found, expected, atol=1e-6)
    assert pieces[0].train_loss == pytest.approx(whole[0].train_loss, rel=1e-5)


def test_a_gradient_is_no_longer_than_the_problem_allows(tiny):
    still = weights_after(tiny, optimizer="SGD", lr=STILL)[1]
    once = {"optimizer": "SGD", "lr": 1.0, "momentum": 0.0, "batch_size": 70}
    assert float((weights_after(Clipped(), **once)[1] - still).norm()) == pytest.approx(0.01, rel=1e-3)
    assert float((weights_after(tiny, **once)[1] - still).norm()) > 0.02
