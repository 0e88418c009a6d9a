"""What is decided between the stages of a run: who is selected, and who failed for good."""

import pandas as pd
import pytest

import miha
from miha.errors import DataError, RunError
from miha.events import StageRetried, StageStarted, observed_by
from miha.evolution.hyperparameters.optimizer import Optimizer
from miha.records.archive import read_manifest
from miha.records.record import StageId
from miha.training.stage import run_stage
from tests.support.runs import contents, cutting, of_kind, trained, watch


def test_a_candidate_that_fails_for_good_is_recorded_and_never_revived(tiny_config, monkeypatch):
    real = run_stage

    def failing(spec):
        if spec.name == "1_1":
            raise ValueError("this change is impossible")
        return real(spec)

    monkeypatch.setattr("miha.run.run_stage", failing)
    config = tiny_config(faults={"retries": 1, "retry_delay": 0.0})
    run, events = watch(config)
    population = pd.read_csv(run.run_dir / "population.csv")
    failed = population[population.status != "ok"]
    assert failed.candidate.tolist() == [1]
    assert failed.status.tolist() == ["failed: ValueError: this change is impossible"]
    assert [event.stage.name for event in of_kind(events, StageRetried)] == ["1_1"]
    monkeypatch.setattr("miha.run.run_stage", real)
    before = contents(run.run_dir)
    _, events = watch(config)
    assert trained(events) == []
    assert contents(run.run_dir) == before


def test_data_that_cannot_be_used_any_more_stop_the_run_and_blame_no_candidate(tiny_config, monkeypatch):
    def failing(spec):
        if spec.name == "1_1":
            raise DataError("the data changed")
        return run_stage(spec)

    with monkeypatch.context() as patched, pytest.raises(DataError, match="the data changed"):
        patched.setattr("miha.run.run_stage", failing)
        miha.optimize(tiny_config())
    run = miha.optimize(tiny_config())
    assert set(pd.read_csv(run.run_dir / "population.csv").status) == {"ok"}


def test_an_archive_of_another_run_does_not_revive_a_candidate_that_failed_for_good(tiny_config, monkeypatch):
    def failing(spec):
        if spec.name == "1_1":
            raise ValueError("impossible")
        return run_stage(spec)

    miha.optimize(tiny_config(seed=1))
    config = tiny_config(replace=True, faults={"retries": 0})
    with monkeypatch.context() as patched, observed_by(cutting(StageStarted, "1")), pytest.raises(KeyboardInterrupt):
        patched.setattr("miha.run.run_stage", failing)
        miha.optimize(config)
    assert (config.run_dir / "population/1_1_model.zip").exists()
    run, events = watch(config)
    assert "1_1" not in trained(events)
    population = pd.read_csv(run.run_dir / "population.csv")
    assert population[population.status != "ok"].candidate.tolist() == [1]


def test_too_few_survivors_end_the_run_and_say_what_happened_to_each(tiny_config, monkeypatch):
    real = run_stage

    def failing(spec):
        if spec.name in ("1_1", "1_2"):
            raise ValueError("impossible")
        return real(spec)

    monkeypatch.setattr("miha.run.run_stage", failing)
    with pytest.raises(RunError, match=r"2 candidates of cycle 1 survived.*0 \(unchanged\) ok.*failed: ValueError"):
        miha.optimize(tiny_config(faults={"min_survivors": 3, "retries": 0}))


def explode(self, parent, space, offer):
    return [
        self.child(
            parent,
            "optimizer",
            parent.optimizer,
            f"SGD {power}",
            {"optimizer": "SGD", "beta2": None, "lr": 10.0**power},
        )
        for power in (10, 20, 30)
    ]


def test_a_diverged_candidate_is_recorded_and_never_wins(tiny_config, monkeypatch):
    """Every change of the optimizer is made to explode."""
    monkeypatch.setattr(Optimizer, "children", explode)
    run = miha.optimize(tiny_config(search={"operators": {"optimizer": 1}}))
    population = pd.read_csv(run.run_dir / "population.csv")
    assert (population[population.change != "unchanged"].status == "diverged").all()
    assert population[population.selected].change.tolist() == ["unchanged", "unchanged"]


def test_another_criterion_decides_anew_on_the_same_candidates(tiny_config):
    miha.optimize(tiny_config())
    again = miha.optimize(tiny_config(fitness={"kind": "article"}, replace=True))
    fresh = miha.optimize(tiny_config("fresh", fitness={"kind": "article"}))
    assert contents(again.run_dir) == contents(fresh.run_dir)


def test_failures_of_a_cycle_that_was_not_decided_do_not_outlive_it(tiny_config, monkeypatch):
    def failing(spec):
        if spec.stage.kind == "candidate":
            raise MemoryError("for now")
        return run_stage(spec)

    monkeypatch.setattr("miha.run.run_stage", failing)
    with pytest.raises(RunError, match="0 candidates of cycle 1 survived"):
        miha.optimize(tiny_config(faults={"retries": 0}))
    monkeypatch.setattr("miha.run.run_stage", run_stage)
    assert len(miha.optimize(tiny_config()).history) == tiny_config().schedule.budget


def test_each_cycle_trains_on_its_fittest_candidate(tiny_config):
    run = miha.optimize(tiny_config())
    population = pd.read_csv(run.run_dir / "population.csv")
    for cycle, candidates in population.groupby("cycle"):
        winner = candidates.loc[candidates.fitness.idxmax()]
        assert candidates[candidates.selected].candidate.tolist() == [winner.candidate]
        parent = read_manifest(run.run_dir / "model" / f"model_{cycle}.zip").record.parent
        assert parent == StageId(kind="candidate", cycle=cycle, candidate=winner.candidate)
