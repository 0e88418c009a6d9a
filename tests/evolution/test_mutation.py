import numpy as np
import pytest

from miha.config import make_config
from miha.errors import ConfigError
from miha.evolution.hyperparameters import HIDDEN_ACTIVATIONS, OPTIMIZERS, Hyperparameters
from miha.evolution.mutation import OPERATORS, SearchSpace, change_batch_size, change_optimizer, generate_population

LAYERS = {"a": HIDDEN_ACTIVATIONS, "out": ("Identity", "Tanh")}
PARENT = Hyperparameters(optimizer="Adam", lr=0.005, batch_size=32, activations={"a": "ReLU", "out": "Identity"})


def population(size: int, space: SearchSpace = SearchSpace(), seed: int = 0) -> list[Hyperparameters]:
    children = generate_population(PARENT, space, LAYERS, size, lambda number: np.random.default_rng([seed, number]))
    return [child.hyperparameters for child in children]


def changed_fields(child: Hyperparameters) -> set[str]:
    return {name for name in Hyperparameters.model_fields if getattr(child, name) != getattr(PARENT, name)}


def test_child_0_is_the_unchanged_control():
    assert population(4)[0] == PARENT


@pytest.mark.parametrize("seed", range(20))
def test_every_other_child_has_one_change_and_no_two_are_alike(seed):
    children = population(8, seed=seed)
    assert len({child.model_dump_json() for child in children}) == 8
    for child in children[1:]:
        assert changed_fields(child) in ({"optimizer"}, {"optimizer", "lr"}, {"batch_size"}, {"activations"})
        differing = [layer for layer, name in child.activations.items() if name != PARENT.activations[layer]]
        assert len(differing) <= 1


def test_fewer_children_come_back_when_distinct_changes_run_out():
    space = SearchSpace(operators={"batch_size": 1}, min_batch_size=31, max_batch_size=33)
    assert [child.batch_size for child in population(10, space)] in ([32, 31, 33], [32, 33, 31])


def test_an_operator_of_weight_0_is_never_drawn():
    space = SearchSpace(operators={"optimizer": 1, "activation": 0})
    assert all(child.activations == PARENT.activations and child.batch_size == 32 for child in population(7, space))


def test_an_output_layer_takes_only_what_the_problem_allows():
    space = SearchSpace(operators={"activation": 1})
    children = population(100, space)
    assert {child.activations["out"] for child in children} == {"Identity", "Tanh"}
    assert {child.activations["a"] for child in children} == set(HIDDEN_ACTIVATIONS)


def test_batch_size_steps_are_ten_and_a_factor_of_two_within_bounds():
    sizes = {child.hyperparameters.batch_size for child in change_batch_size(PARENT, SearchSpace(), LAYERS)}
    assert sizes == {16, 22, 42, 64}
    near_top = PARENT.model_copy(update={"batch_size": 195})
    sizes = {child.hyperparameters.batch_size for child in change_batch_size(near_top, SearchSpace(), LAYERS)}
    assert sizes == {97, 185, 200}


def test_relatives_of_adam_keep_the_learning_rate_and_others_start_at_their_own():
    rates = {
        child.hyperparameters.optimizer: child.hyperparameters.lr
        for child in change_optimizer(PARENT, SearchSpace(), LAYERS)
    }
    assert set(rates) == set(OPTIMIZERS) - {"Adam"}
    assert rates["AdamW"] == rates["NAdam"] == rates["RAdam"] == 0.005
    assert rates["SGD"] == OPTIMIZERS["SGD"].lr
    assert rates["Adadelta"] == 1.0


def test_a_change_is_told_in_words():
    space = SearchSpace(operators={"activation": 1})
    changes = generate_population(
        PARENT, space, {"a": ("ReLU", "GELU"), "out": ("Identity",)}, 3, np.random.default_rng
    )
    assert [child.change for child in changes] == ["unchanged", "ReLU→GELU in a"]


def test_only_operators_that_work_are_offered():
    with pytest.raises(ConfigError, match="unknown operator 'crossover'"):
        make_config({"search": {"operators": {"crossover": 1}}})
    for operator in OPERATORS.values():
        assert all(changed_fields(child.hyperparameters) for child in operator(PARENT, SearchSpace(), LAYERS))


def test_the_order_in_which_operators_are_written_changes_nothing():
    names = ["optimizer", "activation", "batch_size"]
    one, other = (SearchSpace(operators=dict.fromkeys(order, 1.0)) for order in (names, names[::-1]))
    assert population(6, one) == population(6, other)
