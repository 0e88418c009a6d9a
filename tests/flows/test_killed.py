"""`miha optimize` as a user starts it, killed in the middle: with Prefect and its temporary server, and without."""

import json
import os
import signal
import subprocess

import pytest

from tests.support.processes import BIN, alive, descendants, environment, logged, running, wait_for
from tests.support.runs import contents

SETTINGS = {
    "problem.train_samples": 16,
    "problem.valid_samples": 8,
    "problem.trees": 12,
    "problem.width": 4,
    "problem.levels": 2,
    "schedule.initial_epochs": 10,
    "schedule.cycles": 1,
    "schedule.population_size": 2,
    "schedule.fixing_epochs": 1,
    "schedule.final_epochs": 1,
    "schedule.candidate_epochs": 30,
    "run.workers": 2,
    "run.checkpoint_every": 0,
}


def optimize(data, run_dir, *more):
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    return [str(BIN / "miha"), "optimize", "--data", str(data), "--run-dir", str(run_dir), *settings, *more]


@pytest.fixture(scope="module")
def undisturbed(simulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(optimize(simulated, folder / "run", "--no-prefect"), check=True, env=environment(folder / "home"))
    return contents(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--no-prefect",)], ids=["Prefect", "bare"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_run_leaves_no_process_and_the_same_command_continues(simulated, tmp_path, undisturbed, how, number):
    command, env = optimize(simulated, tmp_path / "run", *how), environment(tmp_path / "home")
    log = tmp_path / "log"
    with running(command, log, env) as process:
        wait_for(logged(log, "init: validation loss"), 120, log)
        wait_for(lambda: any((tmp_path / "run/population").glob("*_checkpoint.zip")), 60, log)
        started = descendants(process.pid)
        assert len(started) >= 3
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # Ctrl-C in a terminal reaches all that belong to it
        else:
            process.send_signal(number)
        process.wait(20)
        wait_for(lambda: not alive(started), 5)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    if number != signal.SIGKILL:
        assert "The same command continues" in log.read_text()
    again = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert "init (unchanged): trained before, reused" in again.stdout
    assert "continues after" in again.stdout
    assert contents(tmp_path / "run") == undisturbed
    if not how:
        assert states(env, tmp_path / "run") == {"CRASHED": 1, "COMPLETED": 1}


def states(env, run_dir):
    """How the flow runs of a run directory ended, by what a Prefect server with this home knows."""
    code = (
        "import json; from collections import Counter; from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client:\n"
        "    runs = client.read_flow_runs()\n"
        f"print('STATES', json.dumps(Counter(run.state.type.value for run in runs if 'in {run_dir}' in run.tags)))"
    )
    asked = subprocess.run([str(BIN / "python"), "-c", code], capture_output=True, text=True, env=env, check=True)
    return json.loads(asked.stdout.rpartition("STATES ")[2])
