import math

import pytest

from miha.evolution.change import UNCHANGED, Change, Child
from miha.evolution.crossover import Judged, cross, crossovers
from miha.evolution.point import Hyperparameters

PARENT = Hyperparameters(optimizer="Adam", lr=0.001, batch_size=32, activations={"a": "ReLU", "out": "Identity"})


def changed(**update):
    return PARENT.model_copy(update=update)


def activation(layer, name):
    return changed(activations={**PARENT.activations, layer: name})


def judged(fitness, target, after):
    """A candidate that differs from the parent in one key, or in the activation of one layer."""
    if target in PARENT.activations:
        change = Change(operator="activation", target=target, before=PARENT.activations[target], after=after)
        return Judged(activation(target, after), change, fitness)
    change = Change(operator=target, target=target, before=getattr(PARENT, target), after=after)
    return Judged(changed(**{target: after}), change, fitness)


CONTROL = Judged(PARENT, UNCHANGED, 0.1)
FASTER = judged(0.5, "lr", 0.005)
OTHER = judged(0.4, "a", "GELU")
SMALLER = judged(0.3, "batch_size", 16)
SLOWER = judged(0.2, "lr", 0.0005)
WORSE = judged(0.05, "dropout", 0.2)
DIVERGED = judged(-math.inf, "lr", 1.0)


def test_a_cross_has_the_changes_of_both():
    assert cross(PARENT, changed(lr=0.005), changed(batch_size=16)) == changed(lr=0.005, batch_size=16)


def test_changes_of_different_layers_are_both_kept():
    crossed = cross(PARENT, activation("a", "GELU"), activation("out", "Tanh"))
    assert crossed is not None
    assert crossed.activations == {"a": "GELU", "out": "Tanh"}


@pytest.mark.parametrize(
    ("fittest", "other"),
    [
        (changed(lr=0.005), changed(lr=0.002)),
        (activation("a", "GELU"), activation("a", "Tanh")),
        (activation("a", "GELU"), activation("a", "ReLU+Tanh#1")),
        (changed(optimizer="SGD", lr=0.01, beta2=None), changed(beta2=0.99)),
        (changed(optimizer="RMSprop", momentum=None, beta2=0.9), changed(lr=0.005)),  # its own rate is Adam's
        (changed(weight_decay=1e-4), changed(optimizer="NAdam")),
    ],
)
def test_changes_of_the_same_are_not_crossed(fittest, other):
    assert cross(PARENT, fittest, other) is None


def test_what_was_fitter_than_the_control_is_crossed_with_the_fittest_best_first():
    children = crossovers(PARENT, [CONTROL, WORSE, SMALLER, FASTER, OTHER, SLOWER, DIVERGED], 3)
    activations = {"a": "GELU", "out": "Identity"}
    assert children == [
        Child(changed(lr=0.005, activations=activations), OTHER.change.model_copy(update={"crossed": True})),
        Child(changed(lr=0.005, batch_size=16), SMALLER.change.model_copy(update={"crossed": True})),
    ]
    assert [str(child.change) for child in children] == ["crossover: a ReLU→GELU", "crossover: batch_size 32→16"]


def test_what_was_crossed_took_no_operators_turn():
    (child,) = crossovers(PARENT, [CONTROL, FASTER, SMALLER], 1)
    assert SMALLER.change.drawn
    assert not child.change.drawn


def test_nothing_is_crossed_where_the_control_is_the_fittest():
    assert crossovers(PARENT, [CONTROL, WORSE], 0) == []


def test_without_a_control_that_lived_any_other_may_be_crossed():
    assert len(crossovers(PARENT, [CONTROL._replace(fitness=-math.inf), WORSE, FASTER], 2)) == 1
    assert len(crossovers(PARENT, [WORSE, FASTER], 1)) == 1


def test_a_crossover_that_came_second_is_crossed_again_under_its_own_name():
    crossed = SMALLER.change.model_copy(update={"crossed": True})
    (child,) = crossovers(PARENT, [CONTROL, FASTER, SMALLER._replace(change=crossed)], 1)
    assert child.change == crossed
    assert str(child.change) == "crossover: batch_size 32→16"
