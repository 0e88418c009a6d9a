from bench.experience import counted, experience_table, learned
from miha.evolution.prior import Tally

RUNS = {
    "digits": {"0": {"tried": {"lr/up": [2, 2], "lr/down": [0, 3]}}, "1": {"tried": {"lr/up": [1, 2]}}},
    "LSTM": {"0": {"tried": {"lr/up": [1, 4], "momentum/up": [2, 2]}}},
}


def test_directions_of_numbers_are_counted_and_nothing_else():
    tally = Tally(
        wins={"lr": 1, "lr/up": 1, "lr/down": 0, "loss/focal": 0}, tries={"lr/up": 1, "lr/down": 2, "loss/focal": 1}
    )
    assert counted(tally) == {"lr/up": [1, 1], "lr/down": [0, 2]}
    assert counted(None) == {}


def test_tasks_weigh_alike_and_few_tries_do_not_count():
    assert learned(RUNS) == Tally(wins={"lr/down": 0, "lr/up": 5}, tries={"lr/down": 10, "lr/up": 10})


def test_a_task_can_be_kept_from_telling_of_itself():
    assert learned(RUNS, without="digits").wins == {"lr/up": 3}
    assert learned(RUNS, without="LSTM").wins == {"lr/down": 0, "lr/up": 8}


def test_the_table_has_wins_of_tries_by_task():
    lines = experience_table(RUNS).splitlines()
    assert lines[2:] == ["| lr down | 0 of 3 |  | 0 of 10 |", "| lr up | 3 of 4 | 1 of 4 | 5 of 10 |"]
    assert experience_table({}) == ""
