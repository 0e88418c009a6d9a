import pytest
from pydantic import ValidationError

from miha.evolution.change import UNCHANGED, Change

GELU = Change(operator="activation", target="encoder.0.2", before="ReLU", after="GELU")


@pytest.mark.parametrize(
    ("change", "label"),
    [
        (UNCHANGED, "unchanged"),
        (Change(operator="lr", target="lr", before=0.001, after=0.005), "lr 0.001→0.005"),
        (Change(operator="lr", target="lr", before=1e-5, after=2e-6), "lr 1e-05→2e-06"),
        (Change(operator="batch_size", target="batch_size", before=16, after=1000000), "batch_size 16→1000000"),
        (Change(operator="optimizer", target="optimizer", before="Adam", after="SGD"), "optimizer Adam→SGD"),
        (Change(operator="dropout", target="dropout", before=None, after=0.1), "dropout as written→0.1"),
        (Change(operator="dropout", target="dropout", before=0.1, after=0.0), "dropout 0.1→0"),
        (Change(operator="momentum", target="beta2", before=0.999, after=0.9998), "beta2 0.999→0.9998"),
        (GELU, "encoder.0.2 ReLU→GELU"),
        (GELU.model_copy(update={"crossed": True}), "crossover: encoder.0.2 ReLU→GELU"),
    ],
)
def test_a_change_has_a_label(change, label):
    assert str(change) == label


def test_a_change_is_a_value():
    same = Change(operator="activation", target="encoder.0.2", before="ReLU", after="GELU")
    assert same == GELU
    assert len({same, GELU, UNCHANGED, Change()}) == 2
    with pytest.raises(ValidationError, match="frozen"):
        GELU.after = "Tanh"


@pytest.mark.parametrize(
    "update", [{"operator": "x"}, {"target": "x"}, {"before": "x"}, {"after": "x"}, {"crossed": True}]
)
def test_changes_that_differ_in_anything_are_not_equal(update):
    assert GELU.model_copy(update=update) != GELU


def test_only_an_operators_own_change_counts_as_drawn():
    assert GELU.drawn
    assert not GELU.model_copy(update={"crossed": True}).drawn
    assert not UNCHANGED.drawn


@pytest.mark.parametrize("value", [None, "ReLU", 16, 0.5, 1.0, 0.0, 0])
def test_values_keep_their_type_in_json(value):
    """A whole learning rate stays a number with a point: a record that is read back is written with the same bytes."""
    change = Change(operator="lr", target="lr", before=value, after=value)
    again = Change.model_validate_json(change.model_dump_json())
    assert again == change
    assert type(again.after) is type(value)
    assert again.model_dump_json() == change.model_dump_json()
