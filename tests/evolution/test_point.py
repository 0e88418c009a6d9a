"""The search space: what a point, a start and the bounds are made of."""

import pkgutil

import pytest
from pydantic import ValidationError

from miha.errors import ConfigError
from miha.evolution import hyperparameters
from miha.evolution.hyperparameter import Offer
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.hyperparameters.optimizer import OPTIMIZERS
from miha.evolution.point import Hyperparameters, SearchSpace, Start

EVERYTHING = Offer(
    layers={"act": ("ReLU", "Tanh")},
    activations={"act": "Tanh"},
    losses=("mse", "l1"),
    dropouts=(0.1,),
    augmentation=True,
)
BOUNDED = [(kind, key) for kind in HYPERPARAMETERS.values() for key in kind.limits]


def test_every_hyperparameter_is_known_by_its_name_in_the_order_of_its_code():
    assert {name: kind.name for name, kind in HYPERPARAMETERS.items()} == {name: name for name in HYPERPARAMETERS}
    codes = [kind.code for kind in HYPERPARAMETERS.values()]
    assert codes == sorted(set(codes))
    files = [module.name for module in pkgutil.iter_modules(hyperparameters.__path__, f"{hyperparameters.__name__}.")]
    assert sorted(type(kind).__module__ for kind in HYPERPARAMETERS.values()) == sorted(files), "one in each file"


def test_a_point_has_the_keys_of_all_hyperparameters_and_a_start_those_that_no_network_decides():
    keys = [key for kind in HYPERPARAMETERS.values() for key in kind.Values.model_fields]
    assert len(keys) == len(set(keys))
    assert set(Hyperparameters.model_fields) == set(keys)
    assert set(Start.model_fields) == set(keys) - {"activations"}


@pytest.mark.parametrize(("kind", "key"), BOUNDED, ids=[key for _, key in BOUNDED])
def test_every_number_has_bounds_that_clip_its_values_and_those_of_its_children(kind, key):
    default = SearchSpace()
    low, high = default.bounds(key)
    assert (low, high) == kind.limits[key][:2]
    middle = (low + high) / 2 if isinstance(low, float) else (low + high) // 2
    space = SearchSpace(**{f"min_{key}": middle, f"max_{key}": middle})
    assert space.bounds(key) == (middle, middle)
    assert space.clip(key, high) == middle
    assert space.clip(key, None) is None
    parent = Start(augmentation=0.5, weight_decay=0.1).point(EVERYTHING).model_copy(update={key: high})
    children = kind.children(parent, space, EVERYTHING)
    values = {getattr(child.point, key) for child in children if child.change.target == key}
    assert values == ({middle, 0} if kind.limits[key].zero else {middle})


@pytest.mark.parametrize(("kind", "key"), BOUNDED, ids=[key for _, key in BOUNDED])
def test_bounds_are_held_to_what_the_number_itself_may_be(kind, key):
    with pytest.raises(ValidationError, match=f"min_{key}"):
        SearchSpace(**{f"min_{key}": -1})


def test_bounds_of_dropout_and_augmentation_hold_from_below_too():
    space = SearchSpace(min_dropout=0.2, min_augmentation=0.6)
    parent = Start(dropout=0.3, augmentation=0.8).point(EVERYTHING)
    for key, expected in (("dropout", [0.2, 0.4, 0.5]), ("augmentation", [0.6, 1.0])):
        children = HYPERPARAMETERS[key].children(parent, space, EVERYTHING)
        assert [getattr(child.point, key) for child in children] == expected


def test_no_weight_decay_at_all_is_within_any_bounds():
    space = SearchSpace(min_weight_decay=0.1)
    assert space.clip("weight_decay", 0.0) == 0.0
    assert space.clip("weight_decay", 1e-3) == 0.1
    space.check(Start(weight_decay=0.0))


@pytest.mark.parametrize(
    ("start", "bounds", "message"),
    [
        ({"dropout": 0.1}, {"min_dropout": 0.2}, r"start\.dropout 0\.1 is outside search\.min_dropout"),
        ({"augmentation": 0.9}, {"max_augmentation": 0.5}, r"start\.augmentation 0\.9 is outside .* \(0\.0 to 0\.5\)"),
        ({}, {"min_augmentation": 0.5}, r"start\.augmentation 0\.0 is outside"),
        ({"optimizer": "Adadelta"}, {"max_lr": 0.5}, r"start\.lr 1\.0 is outside search\.min_lr to search\.max_lr"),
        ({}, {"min_beta2": 0.9995}, r"start\.beta2 0\.999 is outside"),
    ],
)
def test_a_start_out_of_bounds_is_reported_even_if_the_optimizer_implies_it(start, bounds, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace(**bounds).check(Start(**start))


def test_bounds_in_the_wrong_order_are_reported():
    with pytest.raises(ValidationError, match=r"min_dropout 0\.5 is above max_dropout 0\.3"):
        SearchSpace(min_dropout=0.5, max_dropout=0.3)


def test_what_a_start_leaves_out_is_the_optimizers_and_the_networks_and_the_problems():
    point = Start().point(EVERYTHING)
    assert point.optimizer == "Adam"
    assert {key: getattr(point, key) for key in OPTIMIZERS["Adam"].own} == OPTIMIZERS["Adam"].own
    assert (point.activations, point.loss, point.dropout) == ({"act": "Tanh"}, "mse", 0.1)
    assert Start().point(Offer()).dropout is None
    assert Start().point(Offer(dropouts=(0.1, 0.3))).dropout is None, "each as it is written"


def test_what_a_start_says_is_kept():
    start = {"optimizer": "SGD", "lr": 0.5, "weight_decay": 0.1, "momentum": 0.7, "batch_size": 7}
    start |= {"loss": "l1", "dropout": 0.3, "augmentation": 0.5}
    point = Start(**start).point(EVERYTHING)
    assert {key: getattr(point, key) for key in start} == start
    assert point.beta2 is None


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"loss": "hinge"}, "start.loss is 'hinge', which the problem does not offer: it offers none; leave it out"),
        ({"dropout": 0.1}, "start.dropout is 0.1, but the network has no nn.Dropout"),
        ({"augmentation": 0.5}, "start.augmentation is 0.5, but the problem has none"),
    ],
)
def test_a_start_that_problem_and_network_have_no_place_for_is_reported(start, message):
    with pytest.raises(ConfigError, match=message):
        Start(**start).point(Offer())


def test_a_loss_that_is_not_offered_is_reported_with_those_that_are():
    with pytest.raises(ConfigError, match="it offers mse, l1"):
        Start(loss="hinge").point(EVERYTHING)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "Adamm"}, "unknown optimizer 'Adamm'; known are SGD"),
        ({"optimizer": "Adagrad", "momentum": 0.9}, "Adagrad has no momentum, but it is 0.9"),
        ({"activations": {"act": "RELU"}}, "unknown activation 'RELU'"),
        ({"lr": 0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"batch_size": 0}, "batch_size"),
        ({"magic": 1}, "magic"),
    ],
)
def test_a_point_that_cannot_be_is_reported(values, message):
    with pytest.raises(ValidationError, match=message):
        Hyperparameters(**{"optimizer": "Adam", **values})


def test_a_point_that_is_read_back_is_the_same():
    point = Start(optimizer="SGD", loss="l1").point(EVERYTHING)
    assert Hyperparameters.model_validate_json(point.model_dump_json()) == point


def test_a_point_without_an_optimizer_has_all_of_the_default_one():
    point = Hyperparameters(batch_size=1)
    kind = OPTIMIZERS[point.optimizer]
    assert (point.lr, point.weight_decay, point.momentum, point.beta2) == tuple(kind.own.values())
