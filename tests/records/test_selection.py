from miha.evolution.change import UNCHANGED, Change
from miha.evolution.point import Hyperparameters
from miha.records.selection import CandidateOutcome, Selection

PARENT = Hyperparameters(optimizer="Adam", lr=0.001, batch_size=32)


def outcome(candidate, fitness, target=None, after=None):
    """How a candidate fared that differs from the parent in one key; without fitness it diverged."""
    change = (
        Change(operator=target, target=target, before=getattr(PARENT, target), after=after) if target else UNCHANGED
    )
    return CandidateOutcome(
        cycle=1,
        candidate=candidate,
        change=change,
        hyperparameters=PARENT.model_copy(update={target: after} if target else {}),
        status="diverged" if fitness is None else "ok",
        fitness=fitness,
        level=fitness,
        rate=fitness and 0.0,
        noise=fitness and 0.01,
    )


CONTROL, SMALLER = outcome(0, 0.1), outcome(1, 0.3, "batch_size", 16)
FASTER, WILD = outcome(2, 0.5, "lr", 0.005), outcome(3, None, "dropout", 0.5)


def selection(selected, *outcomes):
    return Selection(cycle=1, selected=selected, criterion="c", digests=("a",) * len(outcomes), outcomes=outcomes)


def test_the_winner_is_the_selected_candidate():
    assert selection(2, CONTROL, SMALLER, FASTER, WILD).winner == FASTER


def test_the_winner_is_found_by_its_number_where_others_are_missing():
    assert selection(2, CONTROL, FASTER).winner == FASTER


def test_the_next_cycle_may_take_over_what_came_second_but_nothing_that_diverged():
    (child,) = selection(2, CONTROL, SMALLER, FASTER, WILD).crossovers(PARENT)
    assert child.point == PARENT.model_copy(update={"lr": 0.005, "batch_size": 16})
    assert child.change == SMALLER.change.model_copy(update={"crossed": True})


def test_a_control_that_diverged_is_no_hurdle():
    children = selection(2, outcome(0, None), outcome(1, -0.3, "batch_size", 16), FASTER, WILD).crossovers(PARENT)
    assert [str(child.change) for child in children] == ["crossover: batch_size 32→16"]


def test_a_selection_that_is_read_back_is_the_same():
    decided = selection(2, CONTROL, SMALLER, FASTER, WILD)
    again = Selection.model_validate_json(decided.model_dump_json())
    assert again == decided
    assert again.model_dump_json() == decided.model_dump_json()
