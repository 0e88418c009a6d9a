"""Training on a real Dask cluster of two worker processes on this machine."""

import os
import signal
import subprocess
import time

import pandas as pd
import pytest

import miha
from flows.optimize import carry_out
from miha.errors import ConfigError, RunError
from miha.events import EpochEnded, StageStarted, observed_by
from miha.records.archive import read_manifest
from tests.support import faults
from tests.support.cluster import scheduling, worker
from tests.support.processes import BIN, descendants, environment, logged, running, wait_for
from tests.support.runs import contents, of_kind
from tests.support.tiny import TinyProblem

pytest.importorskip("distributed", reason="needs the extra dask")
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def scheduler(tmp_path):
    with scheduling(tmp_path) as (address, _):
        yield address


@pytest.fixture
def workers(scheduler, tmp_path):
    env, logs = environment(tmp_path / "home"), [tmp_path / f"worker{number}.log" for number in (1, 2)]
    with running(worker(scheduler, "one"), logs[0], env) as one, running(worker(scheduler, "two"), logs[1], env) as two:
        for log in logs:
            wait_for(logged(log, "Registered to:"), 60, log)
        yield one, two


def test_an_address_where_no_scheduler_answers_is_reported(tiny, tiny_config):
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1.*dask scheduler"):
        carry_out(tiny_config(problem=tiny, run={"dask": "tcp://127.0.0.1:1"}))


def test_a_cluster_needs_prefect(tiny, tiny_config):
    with pytest.raises(ConfigError, match="--no-prefect"):
        miha.optimize(tiny_config(run={"dask": "tcp://127.0.0.1:1"}))


@pytest.mark.slow
def test_a_cluster_without_workers_is_reported(scheduler, tiny, tiny_config):
    with pytest.raises(ConfigError, match="has no workers"):
        carry_out(tiny_config(problem=tiny, run={"dask": scheduler}))


@pytest.mark.slow
def test_the_same_bits_on_a_cluster_as_on_one_machine(scheduler, workers, tiny, tiny_config):
    here = miha.optimize(tiny_config("here"))
    events = []
    with observed_by(events.append):
        there = carry_out(tiny_config("there", problem=tiny, run={"dask": scheduler}))
    assert contents(there.run_dir) == contents(here.run_dir)
    assert len(of_kind(events, EpochEnded)) == 1 + tiny_config().schedule.budget, "the base is validated, too"
    timings = (there.run_dir / "timings.csv").read_text().splitlines()
    assert len(timings) == 3 + 2 * (4 + 1)


@pytest.mark.slow
def test_a_worker_that_dies_costs_a_retry_and_not_the_run(scheduler, workers, tiny, tiny_config, tmp_path):
    here = miha.optimize(tiny_config("here"))
    faults.plan(tmp_path / "fault", "process killed", "epoch ended 1_2", times=2)
    there = carry_out(tiny_config("there", problem=TinyProblem(data=tmp_path / "fault"), run={"dask": scheduler}))
    assert faults.happened(tmp_path / "fault") == 2
    assert contents(there.run_dir) == contents(here.run_dir)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_time_out_of_a_stage_is_its_failure_and_not_waited_for(scheduler, workers, tiny_config, tmp_path):
    faults.plan(tmp_path / "fault", "times out", "epoch ended 1_2", times=faults.ALWAYS)
    there = carry_out(tiny_config("there", problem=TinyProblem(data=tmp_path / "fault"), run={"dask": scheduler}))
    failed = pd.read_csv(there.run_dir / "population.csv").query("cycle == 1 and candidate == 2")
    assert "TimeoutError: a planned time-out" in failed.to_string()


@pytest.mark.slow
def test_a_machine_that_dies_takes_its_share_to_the_others(scheduler, workers, tiny, tiny_config):
    schedule = {"initial_epochs": 2, "cycles": 2, "population_size": 4, "candidate_epochs": 40, "fixing_epochs": 2}
    here = miha.optimize(tiny_config("here", schedule=schedule))
    killed = []

    def kill(event):
        if isinstance(event, StageStarted) and event.stage.name == "1_1" and not killed:
            killed.extend(descendants(workers[0].pid) | {workers[0].pid})
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with observed_by(kill):
        there = carry_out(tiny_config("there", problem=tiny, schedule=schedule, run={"dask": scheduler}))
    assert killed
    assert contents(there.run_dir) == contents(here.run_dir)


@pytest.mark.slow
def test_once_all_workers_are_dead_the_run_ends_and_the_same_command_continues(
    scheduler, workers, tiny, tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr("tasks.cluster._PATIENCE", 3)
    here = miha.optimize(tiny_config("here"))

    def kill(event):
        if isinstance(event, StageStarted) and event.stage.name == "1_1":
            for process in workers:
                for pid in descendants(process.pid) | {process.pid}:
                    os.kill(pid, signal.SIGKILL)
                process.wait()

    settings = tiny_config("there", problem=tiny, run={"dask": scheduler})
    with observed_by(kill), pytest.raises(RunError, match=r"has had no worker for 3 s\. Start some: .* it continues"):
        carry_out(settings)
    log = tmp_path / "worker3.log"
    with running(worker(scheduler, "three"), log, environment(tmp_path / "home")):
        wait_for(logged(log, "Registered to:"), 60, log)
        there = carry_out(settings)
    assert contents(there.run_dir) == contents(here.run_dir)


def command(scheduler, data, run_dir, *settings):
    """What a user types to train a small U-Net on the cluster."""
    small = (
        "problem.train_samples=6",
        "problem.valid_samples=4",
        "problem.trees=12",
        "problem.width=4",
        "schedule.cycles=1",
    )
    chosen = [part for setting in (*small, *settings) for part in ("--set", setting)]
    return [str(BIN / "miha"), "optimize", "--data", str(data), "--run-dir", str(run_dir), *chosen, "--dask", scheduler]


@pytest.mark.slow
def test_the_command_line_trains_on_a_cluster(scheduler, workers, simulated, tmp_path):
    env = environment(tmp_path / "home")
    arguments = command(scheduler, simulated, tmp_path / "run")
    result = subprocess.run(arguments, capture_output=True, text=True, env=env, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Best model:" in result.stdout
    assert "init: validation loss" in result.stdout


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_nothing_training_on_the_cluster_and_continues(
    scheduler, workers, simulated, tmp_path
):
    env = environment(tmp_path / "home")
    arguments = command(
        scheduler, simulated, tmp_path / "run", "schedule.initial_epochs=3000", "run.checkpoint_every=0"
    )
    checkpoint, log = tmp_path / "run/model/init_checkpoint.zip", tmp_path / "log"

    def epochs():
        return len(read_manifest(checkpoint).record.epochs)

    with running(arguments, log, env) as process:
        wait_for(lambda: checkpoint.exists() and epochs() >= 3, 180, log)
        process.kill()
        process.wait()
        time.sleep(5)  # the scheduler learns that its client is gone, and the stage ends an epoch
        kept = epochs()
        time.sleep(3)
        assert epochs() == kept < 3000
    with running(arguments, log, env) as process:
        wait_for(logged(log, f"init: continues after {kept} epochs"), 120, log)
        process.kill()
