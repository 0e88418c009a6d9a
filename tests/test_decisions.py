"""What is decided between the stages of a run: who is selected, and who failed for good."""

import pandas as pd
import pytest

import miha
from miha.errors import DataError, RunError
from miha.events import StageRetried, StageStarted, observed_by
from miha.evolution.fitness import noise
from miha.evolution.hyperparameters.optimizer import Optimizer
from miha.problems.samples import Samples
from miha.records.archive import read_manifest
from miha.records.record import StageId
from miha.training.stage import run_stage
from tests.support.runs import contents, cutting, of_kind, trained, watch
from tests.support.tiny import TinyProblem


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


def test_a_diverged_candidate_is_no_survivor(tiny_config, monkeypatch):
    monkeypatch.setattr(Optimizer, "children", explode)
    with pytest.raises(RunError, match=r"1 candidate of cycle 1 survived.*0 \(unchanged\) ok; 1 .* diverged"):
        miha.optimize(tiny_config(search={"operators": {"optimizer": 1}}, faults={"min_survivors": 2}))


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
    assert miha.optimize(tiny_config()).history.epoch.gt(0).sum() == tiny_config().schedule.budget


@pytest.mark.parametrize("errors", [0.0, 1.0, 3.0])
def test_each_cycle_trains_on_its_fittest_candidate_of_those_beyond_the_noise_of_the_control(tiny_config, errors):
    run = miha.optimize(tiny_config(fitness={"noise": errors}))
    population = pd.read_csv(run.run_dir / "population.csv")
    for cycle, candidates in population.groupby("cycle"):
        control, *others = candidates.itertuples()
        better = [one.candidate for one in others if one.level - control.level > errors * one.noise]
        competing = candidates[candidates.candidate.isin(better or [0])]
        winner = competing.loc[competing.fitness.idxmax()]
        assert candidates[candidates.selected].candidate.tolist() == [winner.candidate]
        parent = read_manifest(run.run_dir / "model" / f"model_{cycle}.zip").record.parent
        assert parent == StageId(kind="candidate", cycle=cycle, candidate=winner.candidate)


def test_no_candidate_wins_over_the_control_if_all_are_within_the_noise(tiny_config):
    fitter, cautious = (
        pd.read_csv(miha.optimize(tiny_config(f"{errors}", fitness={"noise": errors})).run_dir / "population.csv")
        for errors in (0.0, 1e6)
    )
    assert fitter[(fitter.cycle == 1) & fitter.selected].candidate.tolist() != [0]
    assert cautious[cautious.selected].candidate.tolist() == [0, 0]
    same = ["candidate", "change", "fitness", "level", "rate", "noise"]
    pd.testing.assert_frame_equal(cautious[cautious.cycle == 1][same], fitter[fitter.cycle == 1][same])


def test_the_noise_of_a_candidate_is_that_of_its_shares_and_the_controls(tiny_config):
    run = miha.optimize(tiny_config())
    population = pd.read_csv(run.run_dir / "population.csv")
    parent = read_manifest(run.run_dir / "model/model_init.zip").record
    records = [read_manifest(run.run_dir / f"population/1_{number}_model.zip").record for number in range(4)]
    expected = [noise(parent.valid_loss, one.shares, records[0].shares) for one in records]
    assert population[population.cycle == 1].noise.tolist() == pytest.approx(expected)
    assert expected[0] == 0
    assert min(expected[1:]) > 0


class OneBlock(TinyProblem):
    """The same, and nothing tells how its validation samples belong together."""

    def load(self, cache, seed):
        data = super().load(cache, seed)
        inputs, target, _ = data.valid.tensors
        return data._replace(valid=Samples(inputs, target, blocks=[len(inputs)]))


def test_where_validation_samples_are_one_block_the_noise_is_0(tiny_config):
    run = miha.optimize(tiny_config(problem=OneBlock()))
    assert (pd.read_csv(run.run_dir / "population.csv").noise == 0).all()


@pytest.mark.parametrize("errors", [0.0, 1e6])
def test_where_the_control_failed_its_siblings_compete_among_each_other(tiny_config, monkeypatch, errors):
    def failing(spec):
        if spec.name == "1_0":
            raise ValueError("impossible")
        return run_stage(spec)

    monkeypatch.setattr("miha.run.run_stage", failing)
    schedule = {"cycles": 1}
    run = miha.optimize(tiny_config(faults={"retries": 0}, fitness={"noise": errors}, schedule=schedule))
    population = pd.read_csv(run.run_dir / "population.csv")
    assert population.status[0] == "failed: ValueError: impossible"
    assert population.noise.isna().tolist() == [True, False, False, False]
    assert (population.noise[1:] == 0).all(), "there is nothing to compare with"
    assert population.selected.idxmax() == population.fitness.idxmax()


def test_a_diverged_candidate_has_no_noise(tiny_config, monkeypatch):
    monkeypatch.setattr(Optimizer, "children", explode)
    run = miha.optimize(tiny_config(search={"operators": {"optimizer": 1}}, schedule={"cycles": 1}))
    population = pd.read_csv(run.run_dir / "population.csv")
    assert population.noise.isna().tolist() == [False, True, True, True]


def test_another_measure_of_noise_decides_anew_on_the_same_candidates(tiny_config):
    miha.optimize(tiny_config(fitness={"noise": 0.0}))
    again, events = watch(tiny_config(fitness={"noise": 1e6}, replace=True))
    assert not {"base", "init", "1_0", "1_1", "1_2", "1_3"} & set(trained(events))
    fresh = miha.optimize(tiny_config("fresh", fitness={"noise": 1e6}))
    assert contents(again.run_dir) == contents(fresh.run_dir)


def test_a_heat_that_left_too_few_is_tried_again_by_the_next_run(tiny_config, monkeypatch):
    def failing(spec):
        if spec.name == "1_1_heat":
            raise ValueError("impossible")
        return run_stage(spec)

    config = tiny_config(schedule={"racing": 1}, faults={"min_survivors": 4, "retries": 0})
    with monkeypatch.context() as patched, pytest.raises(RunError, match="3 candidates of cycle 1 survived"):
        patched.setattr("miha.run.run_stage", failing)
        miha.optimize(config)
    run, events = watch(config)
    assert "1_1_heat" in trained(events)
    assert not list((run.run_dir / "population").glob("*failure*"))
