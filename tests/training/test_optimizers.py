import pytest
import torch

from miha.evolution.hyperparameters.optimizer import OPTIMIZERS
from miha.evolution.point import Hyperparameters
from miha.training.loop import network_to_device
from miha.training.optimizers import build_optimizer, carry_state, restore_state, state_of


def point(name, **values):
    return Hyperparameters.model_validate({"optimizer": name, "batch_size": 8, "activations": {}, **values})


def stepped(network, optimizer, steps=3):
    inputs, target = torch.linspace(-1, 1, 16).reshape(8, 2), torch.linspace(0, 1, 8)
    network.eval()
    for _ in range(steps):
        optimizer.zero_grad()
        ((network(inputs) - target) ** 2).mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


def fresh(tiny):
    torch.manual_seed(0)
    return tiny.build_network()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_and_continues_from_its_saved_state_bit_for_bit(tiny, name):
    network = fresh(tiny)
    optimizer = build_optimizer(network, point(name))
    stepped(network, optimizer)
    saved, weights = state_of(network, optimizer), {k: v.clone() for k, v in network.state_dict().items()}
    undisturbed = stepped(network, optimizer)

    again = fresh(tiny)
    again.load_state_dict(weights)
    resumed = build_optimizer(again, point(name))
    restore_state(again, resumed, saved)
    assert all(torch.equal(a, b) for a, b in zip(undisturbed, stepped(again, resumed), strict=True))


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_state_saved_in_rows_continues_a_network_in_channels_last_order_bit_for_bit(name):
    def convolutions():
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 2))
        return network_to_device(layers, "cpu", channels_last=True)

    def trained(network, optimizer):
        inputs = torch.linspace(-1, 1, 8 * 3 * 25).reshape(8, 3, 5, 5).contiguous(memory_format=torch.channels_last)
        for _ in range(3):
            optimizer.zero_grad()
            (network(inputs) ** 2).mean().backward()
            optimizer.step()
        return [parameter.detach().clone() for parameter in network.parameters()]

    network = convolutions()
    optimizer = build_optimizer(network, point(name))
    trained(network, optimizer)
    weights = {key: value.contiguous().clone() for key, value in network.state_dict().items()}
    assert any(weights[key].stride() != value.stride() for key, value in network.state_dict().items())
    saved = {key: value.contiguous() for key, value in state_of(network, optimizer).items()}
    undisturbed = trained(network, optimizer)

    again = convolutions()
    again.load_state_dict(weights)
    resumed = build_optimizer(again, point(name))
    restore_state(again, resumed, saved)
    assert all(torch.equal(a, b) for a, b in zip(undisturbed, trained(again, resumed), strict=True))


@pytest.mark.parametrize("before", ["Adam", "AdamW", "NAdam", "RAdam"])
@pytest.mark.parametrize("after", ["Adam", "AdamW", "NAdam", "RAdam"])
def test_relatives_of_adam_keep_moments_and_step(tiny, before, after):
    network = fresh(tiny)
    optimizer = build_optimizer(network, point(before))
    stepped(network, optimizer)
    saved = state_of(network, optimizer)
    carried = carry_state(saved, point(before), point(after))
    for name, _ in network.named_parameters():
        for moment in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(carried[f"{name}/{moment}"], saved[f"{name}/{moment}"])
    successor = build_optimizer(network, point(after))
    restore_state(network, successor, carried)
    assert all(torch.isfinite(values).all() for values in stepped(network, successor))


@pytest.mark.parametrize("momentum", [0.9, 0.5])
def test_nadam_takes_over_with_the_momentum_product_it_would_have_had(tiny, momentum):
    network = fresh(tiny)
    nadam = build_optimizer(network, point("NAdam", momentum=momentum))
    stepped(network, nadam, steps=5)
    own = state_of(network, nadam)
    adams = {key: value for key, value in own.items() if not key.endswith("mu_product")}
    carried = carry_state(adams, point("Adam", momentum=momentum), point("NAdam", momentum=momentum))
    assert carried["head.bias/mu_product"] == pytest.approx(float(own["head.bias/mu_product"]), rel=1e-5)


@pytest.mark.parametrize(("adams", "momentum"), [(0.9, 0.9), (0.98, 0.8), (0.5, 0.9)])
def test_sgd_takes_adams_first_moment_as_the_momentum_it_would_have_built(adams, momentum):
    """On a constant gradient both momenta are known: after many steps SGD's buffer is the gradient / (1 - momentum)."""
    layer = torch.nn.Linear(1, 1, bias=False)
    adam = build_optimizer(layer, point("Adam", momentum=adams))
    for _ in range(600):
        layer.weight.grad = torch.full((1, 1), 0.5)
        adam.step()
    carried = carry_state(state_of(layer, adam), point("Adam", momentum=adams), point("SGD", momentum=momentum))
    assert set(carried) == {"weight/momentum_buffer"}
    assert float(carried["weight/momentum_buffer"]) == pytest.approx(0.5 / (1 - momentum), rel=1e-4)
    sgd = build_optimizer(layer, point("SGD", lr=0.1, momentum=momentum))
    restore_state(layer, sgd, carried)
    before = float(layer.weight.detach())
    layer.weight.grad = torch.full((1, 1), 0.5)
    sgd.step()
    assert before - float(layer.weight.detach()) == pytest.approx(0.1 * 0.5 / (1 - momentum), rel=1e-3)


@pytest.mark.parametrize(
    ("before", "after"), [("SGD", "Adam"), ("Adam", "Adadelta"), ("RMSprop", "SGD"), ("Adagrad", "RMSprop")]
)
def test_any_other_pair_starts_fresh(before, after):
    assert carry_state({"weight/square_avg": torch.ones(1)}, point(before), point(after)) == {}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_learning_rate_of_the_hyperparameters_governs_after_state_is_restored(tiny, name):
    network = fresh(tiny)
    optimizer = build_optimizer(network, point(name, lr=0.5))
    stepped(network, optimizer)
    successor = build_optimizer(network, point(name, lr=1e-12))
    restore_state(network, successor, state_of(network, optimizer))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    assert all(
        torch.allclose(a, b, atol=1e-6) for a, b in zip(before, stepped(network, successor, steps=1), strict=True)
    )


SETTINGS = {
    "SGD": ({"momentum": 0.7, "weight_decay": 0.1}, {"momentum": 0.7, "weight_decay": 0.1}),
    "Adam": ({"momentum": 0.7, "beta2": 0.95}, {"betas": (0.7, 0.95), "weight_decay": 0}),
    "AdamW": ({"momentum": 0.7}, {"betas": (0.7, 0.999), "weight_decay": 0.01}),
    "NAdam": ({"weight_decay": 0.1}, {"betas": (0.9, 0.999), "weight_decay": 0.1}),
    "RAdam": ({"beta2": 0.95}, {"betas": (0.9, 0.95)}),
    "RMSprop": ({"beta2": 0.8}, {"alpha": 0.8, "momentum": 0}),
    "Adagrad": ({"weight_decay": 0.1}, {"weight_decay": 0.1}),
    "Adadelta": ({"beta2": 0.8}, {"rho": 0.8}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_settings_of_the_hyperparameters_govern_after_state_is_restored(tiny, name):
    values, expected = SETTINGS[name]
    network = fresh(tiny)
    optimizer = build_optimizer(network, point(name))
    stepped(network, optimizer)
    successor = build_optimizer(network, point(name, **values))
    restore_state(network, successor, carry_state(state_of(network, optimizer), point(name), point(name, **values)))
    stepped(network, successor)
    (group,) = successor.param_groups
    assert {key: group[key] for key in expected} == expected


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_optimizer_keeps_its_state_under_another_learning_rate_and_decay(tiny, name):
    network = fresh(tiny)
    optimizer = build_optimizer(network, point(name))
    stepped(network, optimizer)
    saved = state_of(network, optimizer)
    carried = carry_state(saved, point(name), point(name, lr=0.5, weight_decay=0.3))
    assert carried.keys() == saved.keys()
    assert all(torch.equal(carried[key], saved[key]) for key in saved)


@pytest.mark.parametrize("after", ["Adam", "AdamW", "NAdam"])
def test_another_beta_keeps_the_estimates_that_adam_steps_by(after):
    """A step on a constant gradient is as long as before; with moments merely copied it would be a third of that."""
    layer = torch.nn.Linear(1, 1, bias=False)
    before, changed = point("Adam", lr=0.1), point(after, lr=0.1, momentum=0.95, beta2=0.9999)
    adam = build_optimizer(layer, before)
    for _ in range(1000):
        layer.weight.grad = torch.full((1, 1), 0.5)
        adam.step()
    successor = build_optimizer(layer, changed.model_copy(update={"weight_decay": 0.0}))
    restore_state(layer, successor, carry_state(state_of(layer, adam), before, changed))
    start = float(layer.weight.detach())
    layer.weight.grad = torch.full((1, 1), 0.5)
    successor.step()
    assert start - float(layer.weight.detach()) == pytest.approx(0.1, rel=0.05)


def test_a_momentum_that_was_switched_off_leaves_no_old_buffer():
    assert carry_state({"weight/momentum_buffer": torch.ones(1)}, point("SGD", momentum=0.0), point("SGD")) == {}
