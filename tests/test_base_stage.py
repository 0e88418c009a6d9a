import math

import numpy as np
import pytest
import torch

import miha
from miha.errors import RunError
from miha.events import RunEnded, SearchEnded, StageEnded, StageReused, StageStarted, observed_by
from miha.evolution.seeds import torch_seed
from miha.plan import Plan
from miha.records.archive import read_archive
from miha.training.loop import seeded
from miha.training.stage import run_stage
from tests.support.runs import contents, cutting, initial_of, of_kind, trained, watch
from tests.support.tiny import TinyProblem


class Contrary(TinyProblem):
    """Trains away from what it is validated by."""

    def training_loss(self, output, batch, name):
        loss, count = super().training_loss(output, batch, name)
        return -loss, count


def test_the_base_is_the_network_before_any_training(tiny_config):
    run = miha.optimize(tiny_config())
    manifest, weights, optimizer = read_archive(run.run_dir / "model/model_base.zip")
    record = manifest.record
    assert (record.name, record.parent, record.last_epoch, len(record.epochs)) == ("base", None, 0, 1)
    assert optimizer == {}
    with seeded(torch_seed(0, "weights")):
        untrained = TinyProblem().build_network().state_dict()
    assert all(torch.equal(weights[name], untrained[name]) for name in untrained)
    first = run.history.iloc[0]
    assert (first.stage, first.cycle, first.epoch) == ("base", 0, 0)
    assert np.isnan(first.train_loss)
    assert first.valid_loss == record.valid_loss


def test_the_base_is_the_best_model_where_training_only_makes_things_worse(tiny_config):
    run, events = watch(tiny_config(problem=Contrary()))
    assert run.history.valid_loss.idxmin() == 0
    assert run.best.name == "base"
    best, base = (read_archive(run.run_dir / f"model/model_{name}.zip") for name in ("best", "base"))
    assert best.manifest.origin == "base"
    assert best.weights.keys() == base.weights.keys()
    assert all(torch.equal(best.weights[name], base.weights[name]) for name in base.weights)
    (ended,) = of_kind(events, RunEnded)
    assert ended.best == "base"
    assert ended.gains[0].startswith("Training added nothing")
    assert "Training added nothing" in (run.run_dir / "report.html").read_text()


class Refining(TinyProblem):
    """Its network corrects what would be there without it."""

    @property
    def refines_base(self):
        return True


def test_a_model_that_betters_the_base_it_refines_by_no_more_than_noise_is_not_the_best(tiny_config):
    def best(problem, noise):
        run = miha.optimize(tiny_config(f"{type(problem).__name__}{noise}", problem=problem, fitness={"noise": noise}))
        assert run.history.valid_loss.min() < run.history.valid_loss.iloc[0]
        return run.best.name

    assert best(Refining(), 0.0) != "base"
    assert best(Refining(), 1000.0) == "base"
    assert best(TinyProblem(), 1000.0) != "base"


def test_a_search_that_cannot_better_the_base_ends_after_its_first_cycle(tiny_config):
    def run(name, problem=Refining(), noise=1000.0, **schedule):
        return watch(tiny_config(name, problem=problem, fitness={"noise": noise}, schedule={"cycles": 3, **schedule}))

    short, events = run("short")
    assert short.history.cycle.max() == 1
    assert short.history.stage.iloc[-1] == "final"
    (ended,) = of_kind(events, SearchEnded)
    assert ended.sentence.startswith("After cycle 1 of 3 the search ended: no model bettered the base")
    assert ended.sentence in (short.run_dir / "report.html").read_text()
    assert contents(run("short")[0].run_dir) == contents(short.run_dir)
    for others in (
        run("insisting", insist=True),
        run("better", noise=0.0),
        run("no base to refine", TinyProblem()),
    ):
        assert others[0].history.cycle.max() == 3
        assert not of_kind(others[1], SearchEnded)


class Blind(TinyProblem):
    """Its validation says nothing."""

    def validation(self, output, batch):
        loss, metric, count = super().validation(output, batch)
        return loss * math.nan, metric, count


def test_a_validation_loss_that_is_not_finite_before_training_is_reported_and_nothing_is_trained(tiny_config):
    started = []
    with (
        observed_by(started.append),
        pytest.raises(RunError, match=r"loss before training is not finite\. Look at the network and the data"),
    ):
        miha.optimize(tiny_config(problem=Blind()))
    assert trained(started) == ["base"]


def test_a_resumed_run_reuses_the_base(tiny_config):
    with observed_by(cutting(StageStarted, "1")), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config())
    base = tiny_config().run_dir / "model/model_base.zip"
    made = base.stat().st_mtime_ns
    _, events = watch(tiny_config())
    assert [event.stage.name for event in of_kind(events, StageReused)][:2] == ["base", "init"]
    assert "base" not in trained(events)
    assert base.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("moment", "begins"),
    [((StageStarted, "base"), "base"), ((StageEnded, "base"), "init"), ((StageStarted, "init"), "init")],
)
def test_a_run_that_is_interrupted_around_the_base_continues_with_the_same_bits(tiny_config, moment, begins):
    undisturbed = miha.optimize(tiny_config("undisturbed"))
    with observed_by(cutting(*moment)), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config())
    run, events = watch(tiny_config())
    assert trained(events)[0] == begins
    assert contents(run.run_dir) == contents(undisturbed.run_dir)


def test_a_base_that_was_damaged_is_made_again_and_nothing_else_is(tiny_config):
    run = miha.optimize(tiny_config())
    before = contents(run.run_dir)
    (run.run_dir / "model/model_base.zip").write_bytes(b"half an arch")
    _, events = watch(tiny_config())
    assert trained(events) == ["base"]
    assert contents(run.run_dir) == before


def test_whether_a_run_begins_with_its_base_changes_no_weight(tiny_config):
    """Initial training is that of a network that was never validated before."""
    plan = Plan.of(tiny_config())
    initial = initial_of(plan)
    alone = initial.model_copy(update={"parent": None, "run_dir": str(plan.run_dir / "alone")})
    assert run_stage(alone).losses == run_stage(initial).losses
    weights, expected = (read_archive(spec.archive).weights for spec in (alone, initial))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
