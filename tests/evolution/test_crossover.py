import math

import pytest

from miha.evolution.crossover import Judged, cross, crossovers
from miha.evolution.hyperparameters import Hyperparameters

PARENT = Hyperparameters(optimizer="Adam", lr=0.001, batch_size=32, activations={"a": "ReLU", "out": "Identity"})


def changed(**update):
    return PARENT.model_copy(update=update)


def activation(layer, name):
    return changed(activations={**PARENT.activations, layer: name})


CONTROL = Judged(PARENT, "unchanged", 0.1)
FASTER = Judged(changed(lr=0.005), "lr 0.001→0.005", 0.5)
SMALLER = Judged(changed(batch_size=16), "batch size 32→16", 0.3)
SLOWER = Judged(changed(lr=0.0005), "lr 0.001→0.0005", 0.2)
WORSE = Judged(changed(dropout=0.2), "dropout 0→0.2", 0.05)
DIVERGED = Judged(changed(lr=1.0), "lr 0.001→1", -math.inf)


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
        (changed(optimizer="SGD", lr=0.01, beta2=None), changed(beta2=0.99)),
        (changed(optimizer="RMSprop", momentum=None, beta2=0.9), changed(lr=0.005)),  # its own rate is Adam's
        (changed(weight_decay=1e-4), changed(optimizer="NAdam")),
    ],
)
def test_changes_of_the_same_are_not_crossed(fittest, other):
    assert cross(PARENT, fittest, other) is None


def test_what_was_fitter_than_the_control_is_crossed_with_the_fittest_best_first():
    other = Judged(activation("a", "GELU"), "ReLU→GELU in a", 0.4)
    children = crossovers(PARENT, [CONTROL, WORSE, SMALLER, FASTER, other, SLOWER, DIVERGED], 3)
    assert [child.change for child in children] == ["crossover: ReLU→GELU in a", "crossover: batch size 32→16"]
    assert children[1].hyperparameters == changed(lr=0.005, batch_size=16)


def test_nothing_is_crossed_where_the_control_is_the_fittest():
    assert crossovers(PARENT, [CONTROL, WORSE], 0) == []


def test_without_a_control_that_lived_any_other_may_be_crossed():
    assert len(crossovers(PARENT, [CONTROL._replace(fitness=-math.inf), WORSE, FASTER], 2)) == 1
    assert len(crossovers(PARENT, [WORSE, FASTER], 1)) == 1


def test_a_crossover_that_came_second_is_crossed_again_under_its_own_name():
    again = SMALLER._replace(change="crossover: batch size 32→16")
    assert crossovers(PARENT, [CONTROL, FASTER, again], 1)[0].change == "crossover: batch size 32→16"
