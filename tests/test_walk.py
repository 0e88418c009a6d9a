"""What the walk makes of what its runner brings back; all else about it is in test_run.py, test_base_stage.py and test_faults.py."""

import pandas as pd
import pytest

from miha.errors import RunError
from miha.events import EpochEnded, Selected, observed_by
from miha.experiment import Experiment
from miha.records.tables import count_epochs
from miha.run import LocalRunner, optimize
from miha.training import workers
from miha.walk import Runner, walk
from tests.support.runs import contents, of_kind, watch


class StopsThePool:
    """Stops the pool when a stage of the second cycle has trained an epoch, as a flow run that is cancelled does."""

    def __init__(self, stage):
        self.stage, self.pool = stage, None

    def __call__(self, event):
        if isinstance(event, Selected) and self.pool is None:
            self.pool = workers._current.get()
            if self.stage == "1":
                self.pool.stop()
        if isinstance(event, EpochEnded) and event.stage.name == self.stage:
            self.pool.stop()


@pytest.mark.parametrize("stage", ["1", "2_1"])
def test_a_pool_that_is_stopped_stops_the_run_and_is_no_candidates_fault(tiny_config, stage):
    schedule = {"candidate_epochs": 40}
    undisturbed = optimize(tiny_config("undisturbed", schedule=schedule))
    config = tiny_config(run={"workers": 2}, schedule=schedule)
    with (
        observed_by(StopsThePool(stage)),
        pytest.raises(RunError, match=r"pool was stopped.*Run the same command again"),
    ):
        optimize(config)
    assert not list(config.run_dir.glob("population/*_failure.json"))
    assert contents(optimize(config).run_dir) == contents(undisturbed.run_dir)


def test_the_walk_needs_of_a_runner_a_pool_and_training_alone(tiny_config):
    """A runner that trains the last stage first gives the same bits: order is the walk's, not the runner's."""

    class Backwards(Runner):
        def __init__(self, experiment):
            self.local = LocalRunner(experiment)

        def pool(self, processes):
            return self.local.pool(processes)

        def train(self, specs):
            return self.local.train(specs[::-1])[::-1]

    experiment = Experiment(tiny_config("backwards"))
    with experiment.open():
        walk(experiment, Backwards(experiment))
    assert contents(experiment.directory.path) == contents(optimize(tiny_config("usual")).run_dir)


def test_in_a_race_the_worse_half_stops_and_the_budget_is_kept(tiny_config):
    race = {"population_size": 5, "candidate_epochs": 3, "racing": 1}
    config = tiny_config("raced", schedule=race)
    run, events = watch(config)
    population = pd.read_csv(run.run_dir / "population.csv")
    assert population.groupby("cycle").status.apply(lambda column: (column == "stopped").sum()).tolist() == [2, 2]
    assert (population[population.candidate == 0].status == "ok").all(), "the control always goes on"
    assert count_epochs(run.history) == config.budget == 2 + 2 * (5 * 1 + 3 * 2 + 1) + 2
    assert len(of_kind(events, EpochEnded)) - 1 == config.budget


def test_candidates_of_a_race_have_the_bits_of_those_that_train_in_one_go(tiny_config):
    whole = optimize(tiny_config("whole", schedule={"cycles": 1, "candidate_annealing": True}))
    raced = optimize(tiny_config("raced", schedule={"cycles": 1, "candidate_annealing": True, "racing": 1}))
    finished = pd.read_csv(raced.run_dir / "population.csv").query("status == 'ok'").candidate
    for number in finished:
        name = f"population/1_{number}_model.zip"
        assert (raced.run_dir / name).read_bytes() == (whole.run_dir / name).read_bytes()


def test_after_a_cycle_that_the_control_won_the_next_population_is_put_off(tiny_config):
    config = tiny_config(schedule={"put_off": True, "cycles": 4}, fitness={"noise": 1e6})
    run = optimize(config)
    population = pd.read_csv(run.run_dir / "population.csv")
    assert population.cycle.unique().tolist() == [1, 3]
    assert count_epochs(run.history) == config.budget
    fixing = run.history[run.history.stage == "fixing"].groupby("cycle").size()
    assert fixing.tolist() == [1, config.schedule.cycle_epochs, 1, config.schedule.cycle_epochs]
