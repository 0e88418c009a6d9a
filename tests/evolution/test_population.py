from collections import Counter

import pytest

from miha.config import make_config
from miha.errors import ConfigError
from miha.evolution.change import UNCHANGED, Change, Child
from miha.evolution.hyperparameter import Offer
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.hyperparameters.activation import HIDDEN_ACTIVATIONS
from miha.evolution.hyperparameters.optimizer import OPTIMIZERS
from miha.evolution.losses import REGRESSION_LOSSES
from miha.evolution.point import Hyperparameters, SearchSpace
from miha.evolution.population import generate_population
from miha.evolution.prior import Tally

LAYERS = {"a": HIDDEN_ACTIVATIONS, "out": ("Identity", "Tanh")}
OFFER = Offer(LAYERS, {"a": "ReLU", "out": "Identity"}, REGRESSION_LOSSES, (0.1,), True)
NOTHING = Offer()
PARENT = Hyperparameters(
    optimizer="Adam", lr=0.005, batch_size=32, activations={"a": "ReLU", "out": "Identity"}, loss="mse", dropout=0.1
)


def drawn(space: SearchSpace, offer: Offer, size: int, seed: int = 0, cycle: int = 1) -> list[Child]:
    """A cycle's population, those before it as large."""
    return generate_population(PARENT, space, offer, size, seed, cycle, turn=(cycle - 1) * (size - 1))


def population(size: int, space: SearchSpace = SearchSpace(), seed: int = 0) -> list[Hyperparameters]:
    return [child.point for child in drawn(space, OFFER, size, seed)]


def children_of(operator: str, offer: Offer = OFFER, space: SearchSpace = SearchSpace(), **parent) -> list[Child]:
    """All that an operator makes of the parent, in its order."""
    return HYPERPARAMETERS[operator].children(PARENT.model_copy(update=parent), space, offer)


def values(operator: str, field: str | None = None, **options) -> list:
    """What an operator makes of a field, in the order of its children."""
    return [getattr(child.point, field or operator) for child in children_of(operator, **options)]


def labels(operator: str, **options) -> list[str]:
    return [str(child.change) for child in children_of(operator, **options)]


def changed_fields(child: Hyperparameters) -> set[str]:
    return {name for name in Hyperparameters.model_fields if getattr(child, name) != getattr(PARENT, name)}


def test_child_0_is_the_unchanged_control():
    assert population(4)[0] == PARENT


@pytest.mark.parametrize("seed", range(20))
def test_every_other_child_has_one_change_and_no_two_are_alike(seed):
    children = population(8, seed=seed)
    assert len({child.model_dump_json() for child in children}) == 8
    for child in children[1:]:
        changed = changed_fields(child)
        assert len(changed) == 1 or {"optimizer"} < changed <= {"optimizer", *OPTIMIZERS["Adam"].own}
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
    assert values("batch_size") == [16, 22, 42, 64]
    assert values("batch_size", batch_size=195) == [97, 185, 200]


def test_relatives_of_adam_keep_the_learning_rate_and_others_start_at_their_own():
    rates = dict(zip(values("optimizer"), values("optimizer", "lr"), strict=True))
    assert set(rates) == set(OPTIMIZERS) - {"Adam"}
    assert rates["AdamW"] == rates["NAdam"] == rates["RAdam"] == 0.005
    assert rates["SGD"] == OPTIMIZERS["SGD"].lr
    assert rates["Adadelta"] == 1.0


def test_a_child_carries_its_change():
    space = SearchSpace(operators={"activation": 1})
    children = drawn(space, Offer({"a": ("ReLU", "GELU"), "out": ("Identity",)}), 3)
    gelu = Change(operator="activation", target="a", before="ReLU", after="GELU")
    assert [child.change for child in children] == [UNCHANGED, gelu]


@pytest.mark.parametrize("operator", HYPERPARAMETERS)
def test_a_change_says_what_the_child_has_and_its_parent_had(operator):
    children = children_of(operator, weight_decay=0.01, augmentation=0.5)
    assert children
    for child in children:
        change = child.change
        assert (change.operator, change.crossed, change.drawn) == (operator, False, True)
        if operator in ("activation", "neuron_activation"):
            before, after = PARENT.activations[change.target], child.point.activations[change.target]
        else:
            parent = PARENT.model_copy(update={"weight_decay": 0.01, "augmentation": 0.5})
            before, after = getattr(parent, change.target), getattr(child.point, change.target)
        assert (change.before, change.after) == (before, after)
        assert before != after


def test_only_operators_that_work_are_offered():
    with pytest.raises(ConfigError, match="unknown operator 'crossover'"):
        make_config({"search": {"operators": {"crossover": 1}}})
    for operator in HYPERPARAMETERS:
        assert children_of(operator)
        assert all(changed_fields(child.point) for child in children_of(operator))


def test_the_order_in_which_operators_are_written_changes_nothing():
    names = list(HYPERPARAMETERS)
    one, other = (SearchSpace(operators=dict.fromkeys(order, 1.0)) for order in (names, names[::-1]))
    assert population(6, one) == population(6, other)


def test_all_operators_are_drawn_by_default():
    assert SearchSpace().operators == dict.fromkeys(
        [
            "optimizer",
            "activation",
            "batch_size",
            "lr",
            "weight_decay",
            "momentum",
            "loss",
            "dropout",
            "augmentation",
        ],
        1.0,
    )
    fields = {field for seed in range(40) for child in population(8, seed=seed)[1:] for field in changed_fields(child)}
    assert fields == set(Hyperparameters.model_fields)


def test_an_operator_without_children_is_never_drawn():
    space = SearchSpace(operators={"loss": 1e9, "dropout": 1e9, "augmentation": 1e9, "activation": 1e9, "lr": 1})
    children = drawn(space, NOTHING, 9)
    assert [child.point.lr for child in children[1:]] != []
    assert all(changed_fields(child.point) == {"lr"} for child in children[1:])


def test_learning_rate_steps_are_factors_of_two_and_five_within_bounds():
    assert values("lr", lr=0.001) == [0.0002, 0.0005, 0.002, 0.005]
    assert values("lr", lr=0.4, space=SearchSpace(max_lr=0.5)) == [0.08, 0.2, 0.5]
    assert labels("lr", lr=0.001)[2] == "lr 0.001→0.002"


def test_weight_decay_finds_a_way_up_from_none_and_back():
    assert values("weight_decay") == [1e-5, 1e-4, 1e-3]
    assert values("weight_decay", optimizer="AdamW") == [0.01, 0.1]
    assert values("weight_decay", weight_decay=0.01) == [0, 0.001, 0.003, 0.03, 0.1]
    assert values("weight_decay", weight_decay=0.01, space=SearchSpace(max_weight_decay=0.01)) == [0, 0.001, 0.003]
    assert labels("weight_decay")[1] == "weight_decay 0→0.0001"


@pytest.mark.parametrize(
    ("optimizer", "momenta", "beta2s"),
    [
        ("Adam", [0.98, 0.95, 0.8, 0.5], [0.9998, 0.9995, 0.998, 0.995]),
        ("SGD", [0.98, 0.95, 0.8, 0.5], []),
        ("RMSprop", [], [0.98, 0.95]),
        ("Adadelta", [], [0.98, 0.95]),
        ("Adagrad", [], []),
    ],
)
def test_momentum_steps_are_factors_of_what_it_lacks_of_1(optimizer, momenta, beta2s):
    own = OPTIMIZERS[optimizer].own
    points = [child.point for child in children_of("momentum", optimizer=optimizer, **own)]
    assert [point.momentum for point in points if point.momentum != own["momentum"]] == momenta
    assert [point.beta2 for point in points if point.beta2 != own["beta2"]] == beta2s


def test_momentum_and_beta2_have_different_labels():
    assert {"momentum 0.9→0.95", "beta2 0.999→0.9995"} <= set(labels("momentum"))


def test_a_loss_changes_to_another_that_the_problem_offers():
    assert values("loss") == ["l1", "huber", "log_cosh"]
    assert labels("loss")[0] == "loss mse→l1"
    assert values("loss", offer=NOTHING) == []


def test_dropout_steps_are_tenths_within_bounds():
    assert values("dropout", dropout=0.0) == [0.1, 0.2]
    assert values("dropout", dropout=0.4) == [0.2, 0.3, 0.5]
    assert labels("dropout", dropout=0.0)[0] == "dropout 0→0.1"
    assert values("dropout", offer=NOTHING) == []


def test_dropouts_that_differ_as_written_change_to_one_around_their_mean():
    assert values("dropout", offer=Offer(dropouts=(0.1, 0.3)), dropout=None) == [0.0, 0.1, 0.3, 0.4]
    assert labels("dropout", offer=Offer(dropouts=(0.1, 0.3)), dropout=None)[1] == "dropout as written→0.1"


def test_augmentation_goes_up_all_the_way_and_down_by_a_quarter():
    assert values("augmentation") == [1.0]
    assert values("augmentation", augmentation=0.5) == [0.25, 1.0]
    assert values("augmentation", augmentation=1.0) == [0.75]
    assert labels("augmentation")[0] == "augmentation 0→1"
    assert values("augmentation", offer=NOTHING) == []


def test_a_new_optimizer_keeps_what_means_the_same_and_else_has_its_own():
    parent = {"weight_decay": 1e-4, "momentum": 0.8, "beta2": 0.99}
    after = {child.point.optimizer: child.point for child in children_of("optimizer", **parent)}
    assert {name: point.weight_decay for name, point in after.items()} == {
        **dict.fromkeys(set(OPTIMIZERS) - {"Adam"}, 1e-4),
        "AdamW": 0.01,
    }
    assert {(after[name].momentum, after[name].beta2) for name in ("AdamW", "NAdam", "RAdam")} == {(0.8, 0.99)}
    assert (after["SGD"].momentum, after["SGD"].beta2) == (0.9, None)
    assert (after["RMSprop"].momentum, after["RMSprop"].beta2) == (None, 0.9)
    assert set(values("optimizer", "weight_decay", optimizer="AdamW", weight_decay=0.1)) == {0.0}


def test_an_optimizers_own_values_stay_within_the_bounds():
    space = SearchSpace(max_lr=0.006, max_weight_decay=1e-3, max_momentum=0.8)
    rates = dict(zip(values("optimizer"), values("optimizer", "lr", space=space), strict=True))
    assert rates["Adadelta"] == rates["SGD"] == 0.006
    assert max(values("optimizer", "weight_decay", space=space)) == 1e-3


def test_what_is_left_out_of_hyperparameters_is_the_optimizers_own():
    point = Hyperparameters.model_validate({"optimizer": "AdamW", "batch_size": 1, "activations": {}})
    assert (point.lr, point.weight_decay, point.momentum, point.beta2) == (1e-3, 0.01, 0.9, 0.999)
    assert Hyperparameters.model_validate_json(point.model_dump_json()) == point


@pytest.mark.parametrize("seed", range(20))
def test_each_operator_has_one_turn_before_any_has_two(seed):
    """Nine changed children, three cycles of a control and three, are all it takes."""
    changed = [
        changed_fields(child.point) for cycle in (1, 2, 3) for child in drawn(SearchSpace(), OFFER, 4, seed, cycle)[1:]
    ]
    turns = ["optimizer" if "optimizer" in fields else fields.pop() for fields in changed]
    assert {"momentum" if turn == "beta2" else turn for turn in turns} == set(Hyperparameters.model_fields) - {"beta2"}


def test_orders_of_turns_differ_between_seeds():
    assert len({drawn(SearchSpace(), OFFER, 2, seed)[1].change.operator for seed in range(20)}) > 4


def test_operators_have_turns_as_often_as_their_weights_say():
    space = SearchSpace(operators={"lr": 3, "dropout": 1})
    turns = Counter(changed_fields(drawn(space, OFFER, 2, 0, cycle)[1].point).pop() for cycle in range(1, 41))
    assert turns["lr"] == pytest.approx(30, abs=1)


def test_an_operator_whose_changes_ran_out_leaves_its_turns_to_others():
    space = SearchSpace(operators={"lr": 1, "augmentation": 1e9})
    assert [child.change.operator for child in drawn(space, OFFER, 6)].count("lr") == 4


def test_every_layer_has_its_turn_however_few_activations_it_may_take():
    space = SearchSpace(operators={"activation": 1.0})
    for seed in range(10):
        changes = [drawn(space, Offer(LAYERS), 2, seed, cycle)[1].change for cycle in (1, 2)]
        assert {change.target for change in changes} == {"a", "out"}


def inherited_batch_size(size: int) -> Child:
    change = Change(operator="batch_size", target="batch_size", before=32, after=size, crossed=True)
    return Child(PARENT.model_copy(update={"batch_size": size}), change)


def test_inherited_children_come_first_and_are_not_drawn_again():
    space = SearchSpace(operators={"batch_size": 1})
    inherited = inherited_batch_size(64)
    children = generate_population(PARENT, space, OFFER, 9, 0, 2, [inherited])
    assert children[:2] == [Child(PARENT, UNCHANGED), inherited]
    assert sorted(child.point.batch_size for child in children) == [16, 22, 32, 42, 64]


def test_inherited_children_take_no_operators_turn():
    inherited = inherited_batch_size(40)
    without = drawn(SearchSpace(), OFFER, 3, cycle=1)[1:]
    beside = generate_population(PARENT, SearchSpace(), OFFER, 4, 0, 2, [inherited], turn=len(without))[2:]
    changed = [changed_fields(child.point) for child in (*without, *beside)]
    alone = [changed_fields(child.point) for child in drawn(SearchSpace(), OFFER, 5)[1:]]
    assert changed == alone


def test_directions_are_drawn_by_what_they_were_worth_and_operators_take_turns_all_the_same():
    known = Tally(wins={"lr/up": 30}, tries={"lr/up": 30, "lr/down": 30})
    drawn = [generate_population(PARENT, SearchSpace(), OFFER, 10, seed, 1, directions=known)[1:] for seed in range(30)]
    for children in drawn:
        assert len({child.change.operator for child in children}) == 9, "as many operators: each has one turn"
    raised = [child.point.lr > PARENT.lr for children in drawn for child in children if child.change.operator == "lr"]
    assert len(raised) == 30
    assert sum(raised) == 30
    sizes = {child.point.batch_size for children in drawn for child in children}
    assert {16, 64} <= sizes, "of what nothing is known, either direction"
