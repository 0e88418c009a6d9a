"""Limits that end a search early."""

import json
import time

import pytest
from rich.console import Console

import miha
from miha.errors import ConfigError
from miha.events import EpochEnded, SearchEnded, StageEnded, StageStarted, observed_by
from miha.plan import Plan
from miha.records.archive import read_archive
from miha.records.lineage import lineage_frame
from miha.records.provenance import read_provenance
from miha.records.tables import count_epochs
from miha.replay import replay_config
from miha.report.display import ALL_EPOCHS, Display
from miha.report.lineage import lineage_tree
from tests.support.runs import contents, cutting, of_kind, trained, watch

AT_ONCE = {"max_seconds": 1e-6, "cycles": 3}
WORSENS = {
    "schedule": {"patience": 5, "cycles": 5},
    "start": {"optimizer": "Adam", "lr": 0.5},
    "search": {"operators": {"weight_decay": 1.0}},
}
"""A learning rate so high that training gets worse."""


def test_after_so_many_seconds_no_cycle_begins_and_the_run_ends_with_an_annealed_model(tiny_config):
    run, events = watch(tiny_config(schedule=AT_ONCE))
    assert trained(events) == ["base", "init", "final"]
    (ended,) = of_kind(events, SearchEnded)
    assert "After initial training the search ended: 0 s of training had passed (schedule.max_seconds 1e-06)." in (
        ended.sentence
    )
    assert (ended.cycles, ended.epochs) == (3, 3 * 9)
    final = run.history[run.history.stage == "final"]
    assert final.lr.iloc[-1] < final.lr.iloc[0]
    assert final.cycle.unique().tolist() == [0]


def test_without_a_gain_for_so_many_epochs_no_further_cycle_begins(tiny_config):
    run, events = watch(tiny_config(**WORSENS))
    (ended,) = of_kind(events, SearchEnded)
    why = "no lower validation loss for 7 epochs (schedule.patience 5)"
    assert ended.sentence == f"After cycle 3 of 5 the search ended: {why}. Left out: 18 epochs."
    assert "4_0" not in trained(events)
    lineage = lineage_frame(run.history, run.population).query("stage != 'final'").set_index("epoch")
    assert lineage.index[-1] - lineage.valid_loss.idxmin() == 7


def test_a_search_that_gains_runs_through_all_its_cycles(tiny_config):
    _, events = watch(tiny_config(schedule={"patience": 3, "max_seconds": 1e4}))
    assert not of_kind(events, SearchEnded)
    assert {"2", "final"} <= set(trained(events))


def waiting(stage, seconds):
    """An observer that is slow once a stage has ended, as a machine with other work is."""

    def wait(event):
        if isinstance(event, StageEnded) and event.stage.name == stage:
            time.sleep(seconds)

    return wait


def test_a_run_killed_after_its_search_had_ended_continues_with_the_same_bits_though_it_is_faster_now(tiny_config):
    config = tiny_config(schedule={"max_seconds": 2.0, "cycles": 3})
    with (
        observed_by(waiting("1", 2.0)),
        observed_by(cutting(EpochEnded, "final")),
        pytest.raises(KeyboardInterrupt),
    ):
        miha.optimize(config)
    run, events = watch(config)
    assert trained(events) == ["final"]
    assert "After cycle 1 of 3 the search ended" in of_kind(events, SearchEnded)[0].sentence
    before = contents(run.run_dir)
    again, events = watch(config)
    assert trained(events) == []
    assert contents(again.run_dir) == before
    replayed = miha.optimize(replay_config(run.run_dir, run.run_dir.with_name("replay")))
    ours, theirs = (read_archive(one.run_dir / "model/model_final.zip").weights for one in (replayed, run))
    assert all((ours[name] == tensor).all() for name, tensor in theirs.items())


def test_time_of_earlier_tries_counts(tiny_config):
    config = tiny_config(schedule={"max_seconds": 100})
    with (
        observed_by(waiting("init", 0.5)),
        observed_by(cutting(StageStarted, "2_0")),
        pytest.raises(KeyboardInterrupt),
    ):
        miha.optimize(config)
    file = config.run_dir / "population/2_budget.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "seconds": 99.9}))
    longer = tiny_config(schedule={"max_seconds": 100, "cycles": 3})
    with observed_by(waiting("2", 0.2)):
        _, events = watch(longer)
    assert "2_0" in trained(events), "that it goes on was decided before"
    assert "After cycle 2 of 3 the search ended: " in of_kind(events, SearchEnded)[0].sentence


def test_other_limits_with_replace_decide_anew(tiny_config):
    miha.optimize(tiny_config(schedule=AT_ONCE))
    _, events = watch(tiny_config(schedule={**AT_ONCE, "max_seconds": 1e4}, replace=True))
    assert not of_kind(events, SearchEnded)
    assert "3" in trained(events)


def test_what_is_shown_of_the_run_says_which_limit_ended_it(tiny_config):
    config = tiny_config(schedule=AT_ONCE)
    console = Console(record=True, width=200)
    with Display(console) as display, observed_by(display):
        totals = []
        with observed_by(
            lambda event: totals.extend(task.total for task in display.progress.tasks if task.description == ALL_EPOCHS)
        ):
            run = miha.optimize(config)
    assert totals[-1] == count_epochs(run.history) == read_provenance(run.run_dir).epochs == 4
    sentence = "After initial training the search ended: 0 s of training had passed"
    assert console.export_text().count(sentence) == 2, "when it happens and at the end"
    console.print(lineage_tree(run.run_dir))
    assert sentence in console.export_text()
    report = (run.run_dir / "report.html").read_text()
    assert sentence in report
    assert "4 epochs trained: 31 = 2 + 3 × (4·2 + 1) + 2" in report
    assert sentence in run._repr_html_()


def test_a_patience_shorter_than_a_cycle_is_refused(tiny_config):
    with pytest.raises(
        ConfigError, match=r"patience 2 is less than the 3 epochs .*candidate_epochs 2 \+ fixing_epochs 1"
    ):
        tiny_config(schedule={"patience": 2})


def test_without_limits_nothing_is_written(tiny_config):
    run = miha.optimize(tiny_config())
    assert not list(run.run_dir.glob("population/*_budget.json"))
    assert not {"patience", "max_seconds"} & {*Plan.of(tiny_config()).decisive()["schedule"]}
