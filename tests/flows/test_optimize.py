import time

import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterId

import miha
from flows.optimize import Summary, optimize
from miha.errors import RunError
from miha.events import StageRetried, observed_by
from tests.support import faults
from tests.support.runs import contents, of_kind
from tests.support.tiny import TinyProblem

pytestmark = pytest.mark.usefixtures("prefect_server")


def task_runs(flow_run_id):
    with get_client(sync_client=True) as client:
        return client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))


def test_the_flow_gives_the_same_bits_as_the_bare_library(tiny, tiny_config):
    bare = miha.optimize(tiny_config("bare"))
    summary = optimize(tiny_config("flow", problem=tiny, run={"workers": 2}))
    assert contents(summary.run_dir) == contents(bare.run_dir)
    assert summary.best == bare.best.name
    assert summary.epochs == tiny_config().schedule.budget
    assert (summary.run_dir / "report.html").exists()


def test_a_race_and_a_soup_give_the_same_bits_as_the_bare_library(tiny, tiny_config):
    schedule = {"racing": 1, "soups": True, "own_orders": True}
    bare = miha.optimize(tiny_config("bare", schedule=schedule))
    summary = optimize(tiny_config("flow", problem=tiny, schedule=schedule, run={"workers": 3}))
    assert contents(summary.run_dir) == contents(bare.run_dir)


def test_every_stage_is_a_task_with_a_telling_name(tiny, tiny_config):
    state = optimize(tiny_config(problem=tiny, seed=3), return_state=True)
    runs = task_runs(state.state_details.flow_run_id)
    names = [run.name for run in runs]
    population = pd.read_csv(tiny_config().run_dir / "population.csv")
    for candidate in population.itertuples():
        change = candidate.change.replace("→", " -> ")
        assert f"cycle {candidate.cycle}, candidate {candidate.candidate}: {change}" in names
    for name in (
        "validation of the base",
        "initial training",
        "cycle 1, population",
        "cycle 1, selection",
        "final training",
        "samples",
        "report",
    ):
        assert name in names
    assert all(run.state.is_completed() for run in runs)
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(state.state_details.flow_run_id)
        assert flow_run.name.endswith("seed 3")


def test_the_log_has_the_end_of_every_stage_though_it_hears_of_it_late(tiny, tiny_config, caplog):
    with caplog.at_level("INFO", "prefect.task_runs"), observed_by(lambda event: time.sleep(0.05)):
        optimize(tiny_config(problem=tiny, run={"workers": 2}))
    stages = {message.partition(":")[0] for message in caplog.messages if ": finished after " in message}
    assert stages == {"base", "init", *(f"1_{n}" for n in range(4)), *(f"2_{n}" for n in range(4)), "1", "2", "final"}


def test_each_cycle_leaves_a_table_and_the_run_a_summary(tiny, tiny_config):
    state = optimize(tiny_config(problem=tiny), return_state=True)
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        found = {
            key: client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), flow_run_filter=mine
            )
            for key in ("cycle-1", "cycle-2", "summary", "history", "stages")
        }
    assert all(len(artifacts) == 1 for artifacts in found.values())
    assert '"selected": "selected"' in str(found["cycle-1"][0].data)
    assert "Winning changes" in str(found["summary"][0].data)
    assert str(tiny_config().run_dir / "report.html") in str(found["summary"][0].data)
    assert "](data:image/png;base64," in found["history"][0].data
    assert (found["stages"][0].data, found["stages"][0].description) == (100, "5 of 5 stages done")


def test_the_summary_names_the_cycle_of_each_change_though_populations_were_put_off(tiny_config):
    schedule = {"cycles": 3, "put_off": True, "candidate_epochs": 1}
    run = miha.optimize(tiny_config(schedule=schedule, fitness={"noise": 1e9}))
    assert run.population.cycle.unique().tolist() == [1, 3], "the control won, so the second was put off"
    text = Summary.of(run.run_dir).markdown()
    assert "- cycle 1: unchanged\n- cycle 3: unchanged" in text


def test_a_search_that_a_limit_ends_is_done_and_the_summary_says_which(tiny, tiny_config):
    config = tiny_config(problem=tiny, schedule={"max_seconds": 1e-6})
    state = optimize(config, return_state=True)
    bare = miha.optimize(tiny_config("bare", schedule={"max_seconds": 1e-6}))
    final = "model/model_final.zip"
    assert contents(config.run_dir)[final] == contents(bare.run_dir)[final]
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        stages, summary = (
            client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), flow_run_filter=mine
            )
            for key in ("stages", "summary")
        )
    assert (stages[0].data, stages[0].description) == (100, "3 of 3 stages done")
    assert "the search ended: 0 s of training had passed (schedule.max_seconds 1e-06)" in summary[0].data


def test_a_killed_candidate_is_retried_and_its_siblings_are_unharmed(tiny, tiny_config, tmp_path):
    undisturbed = miha.optimize(tiny_config("undisturbed"))
    faults.plan(tmp_path / "fault", "process killed", "epoch ended 1_2")
    problem = TinyProblem(data=tmp_path / "fault")
    events = []
    with observed_by(events.append):
        summary = optimize(tiny_config(problem=problem, run={"workers": 2}, faults={"retry_delay": 0.0}))
    assert faults.happened(tmp_path / "fault") == 1
    assert [event.stage.name for event in of_kind(events, StageRetried)] == ["1_2"]
    assert contents(summary.run_dir) == contents(undisturbed.run_dir)


def test_a_candidate_that_fails_for_good_does_not_stop_the_cycle(tiny, tiny_config, monkeypatch):
    from miha.training.stage import run_stage

    monkeypatch.setattr("tasks.training.run_stage", fail_candidate_1_1)
    summary = optimize(tiny_config(problem=tiny, faults={"retries": 0}))
    monkeypatch.setattr("tasks.training.run_stage", run_stage)
    population = pd.read_csv(summary.run_dir / "population.csv")
    assert population[population.status != "ok"].status.tolist() == ["failed: ValueError: this change is impossible"]
    assert len(population) == 8


def fail_candidate_1_1(spec):
    from miha.training.stage import run_stage

    if spec.name == "1_1":
        raise ValueError("this change is impossible")
    return run_stage(spec)


def test_what_the_library_says_on_purpose_fails_the_flow_at_once(tiny, tiny_config):
    miha.optimize(tiny_config())
    with pytest.raises(RunError, match="another configuration"):
        optimize(tiny_config(problem=tiny, seed=9))


def test_a_stage_that_the_run_needs_and_that_fails_for_good_is_reported_with_the_remedy(tiny_config, tmp_path):
    faults.plan(tmp_path / "fault", "process killed", "epoch ended init", times=faults.ALWAYS)
    problem = TinyProblem(data=tmp_path / "fault")
    with pytest.raises(RunError, match=r"init \(initial training\) failed: ProcessExpired.*the same command again"):
        optimize(tiny_config(problem=problem, faults={"retries": 1, "retry_delay": 0.0}))
