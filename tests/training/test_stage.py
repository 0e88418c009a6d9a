import os
import subprocess
import sys

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from miha.errors import ArchiveError
from miha.events import EpochEnded, StageEnded, StageReused, StageStarted, observed_by
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.hyperparameters.optimizer import OPTIMIZERS
from miha.evolution.point import SearchSpace
from miha.plan import Plan
from miha.problems.evaluation import trained_network
from miha.records.archive import read_archive, read_manifest
from miha.records.record import StageId
from miha.training.loop import Span
from miha.training.optimizers import carry_state
from miha.training.spec import Parent
from miha.training.stage import run_stage
from tests.support.runs import initial_of, of_kind
from tests.support.tiny import TinyNet, TinyProblem, TunableProblem


@pytest.fixture
def plan(tiny_config):
    return Plan.of(tiny_config())


def changed(spec, **update):
    return spec.model_copy(update=update)


def watched(spec):
    """Run a stage; returns its record and its events."""
    events = []
    with observed_by(events.append):
        record = run_stage(spec)
    return record, events


class PowerCutError(Exception):
    pass


def power_cut_after(number):
    """An observer that stops training once an epoch was announced."""

    def cut(event):
        if isinstance(event, EpochEnded) and event.epoch.epoch == number:
            raise PowerCutError

    return cut


def test_a_stage_leaves_an_archive_that_carries_its_record(plan):
    spec = initial_of(plan)
    record = run_stage(spec)
    manifest = read_manifest(plan.run_dir / "model" / "model_init.zip")
    assert manifest.record == record
    assert (record.stage, record.parent, record.digest) == (spec.stage, plan.base().stage, spec.digest)
    assert record.hyperparameters == spec.hyperparameters
    assert manifest.input_shape == (2,)
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]


def test_a_stage_tells_what_it_does(plan):
    spec = initial_of(plan)
    record, events = watched(spec)
    started, *epochs, ended = events
    assert started == StageStarted(spec.stage, spec.change, epochs=2, done=0)
    assert epochs == [EpochEnded(spec.stage, epoch) for epoch in record.epochs]
    assert ended == StageEnded(spec.stage, spec.change, ended.seconds, record.valid_loss)
    assert 0 < ended.seconds < 60


def test_a_stage_that_is_there_is_not_trained_again(plan):
    spec = initial_of(plan)
    first, trained = watched(spec)
    before = spec.archive.stat().st_mtime_ns
    second, reused = watched(spec)
    assert first == second
    assert len(of_kind(trained, EpochEnded)) == 2
    assert reused == [StageReused(spec.stage, spec.change, epochs=2)]
    assert spec.archive.stat().st_mtime_ns == before


def test_a_checkpoint_that_a_dead_process_left_beside_a_whole_archive_goes(plan):
    spec = initial_of(plan)
    run_stage(spec)
    spec.checkpoint.write_bytes(spec.archive.read_bytes())
    _, events = watched(spec)
    assert of_kind(events, EpochEnded) == []
    assert not spec.checkpoint.exists()


def test_a_stage_of_another_digest_or_not_whole_is_trained_again(plan):
    spec = initial_of(plan)
    run_stage(spec)
    whole = spec.archive.read_bytes()
    _, events = watched(changed(spec, span=Span(1, 1)))
    assert len(of_kind(events, EpochEnded)) == 1
    spec.archive.write_bytes(whole[:-200])
    _, events = watched(spec)
    assert len(of_kind(events, EpochEnded)) == 2
    assert spec.archive.read_bytes() == whole


def test_a_child_starts_from_its_parent_and_the_control_continues_it_bit_for_bit(plan):
    """Two stages of the same hyperparameters are one longer stage: state, order and dropout go on."""
    initial = initial_of(plan)
    parent = run_stage(initial)
    control = plan.population(1, parent, [])[0]
    run_stage(control)
    longer = changed(initial, stage=StageId(kind="fixing", cycle=9), span=Span(1, 4))
    run_stage(longer)
    _, weights, state = read_archive(control.archive)
    _, expected, expected_state = read_archive(longer.archive)
    assert weights.keys() == expected.keys()
    assert state.keys() == expected_state.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert all(torch.equal(state[name], expected_state[name]) for name in expected_state)


def test_a_stage_continues_from_its_checkpoint_bit_for_bit(plan):
    spec = changed(initial_of(plan), span=Span(1, 6), checkpoint_every=0.0)
    record = run_stage(spec)
    undisturbed = spec.archive.read_bytes()
    spec.archive.unlink()
    with observed_by(power_cut_after(5)), pytest.raises(PowerCutError):
        run_stage(spec)
    assert spec.checkpoint.exists()
    again, events = watched(spec)
    assert of_kind(events, StageStarted) == [StageStarted(spec.stage, spec.change, epochs=6, done=5)]
    assert [event.epoch.epoch for event in of_kind(events, EpochEnded)] == [6], "the five announced before were kept"
    assert again == record
    assert spec.archive.read_bytes() == undisturbed
    assert not spec.checkpoint.exists()


def damaged(spec):
    return b"half a checkp"


def of_another_stage(spec):
    """Two epochs of a stage that differs in nothing but its seed, whole."""
    other = changed(spec, stage=StageId(kind="fixing", cycle=9), span=Span(1, 2), seed=spec.seed + 1)
    run_stage(other)
    return other.archive.read_bytes()


@pytest.mark.parametrize("left", [damaged, of_another_stage])
def test_a_checkpoint_that_is_damaged_or_of_another_stage_is_passed_over(plan, left):
    spec = changed(initial_of(plan), span=Span(1, 3))
    run_stage(spec)
    undisturbed = spec.archive.read_bytes()
    spec.archive.unlink()
    spec.checkpoint.write_bytes(left(spec))
    _, events = watched(spec)
    assert [event.epoch.epoch for event in of_kind(events, EpochEnded)] == [1, 2, 3]
    assert spec.archive.read_bytes() == undisturbed
    assert not spec.checkpoint.exists()


def test_a_missing_or_altered_parent_is_reported(plan):
    initial = initial_of(plan)
    child = plan.population(1, run_stage(initial), [])[1]
    with pytest.raises(ArchiveError, match="1_1 descends from init, but its archive is another one"):
        run_stage(changed(child, parent=Parent(stage=initial.stage, digest="0" * 64)))
    initial.archive.unlink()
    with pytest.raises(ArchiveError, match="no such archive"):
        run_stage(child)


@pytest.mark.parametrize("layer", ["body.first.1", "act"])
def test_an_activation_is_changed_wherever_it_sits(plan, layer):
    parent = run_stage(initial_of(plan))
    assert plan.start.activations == {"body.first.1": "ReLU", "act": "Tanh"}
    control = plan.population(1, parent, [])[0]
    point = changed(parent.hyperparameters, activations={**parent.hyperparameters.activations, layer: "GELU"})
    spec = changed(control, stage=StageId(kind="candidate", cycle=1, candidate=9), hyperparameters=point)
    record = run_stage(spec)
    assert record.hyperparameters.activations[layer] == "GELU"
    assert record.losses != run_stage(control).losses
    network = trained_network(TinyProblem(), read_archive(spec.archive))
    assert type(network.get_submodule(layer)) is torch.nn.GELU
    assert network.same is network.act, "the network is written with one activation at both places"


@pytest.fixture
def tunable(tiny_config):
    return Plan.of(tiny_config(problem=TunableProblem()))


def children_of(plan, parent, operator):
    """One stage for each child of an operator, from the trained parent."""
    control, first = plan.population(1, parent, [])[0], parent.last_epoch + 1
    children = HYPERPARAMETERS[operator].children(parent.hyperparameters, SearchSpace(), plan.offer)
    assert children
    return [
        changed(
            control,
            stage=StageId(kind="candidate", cycle=1, candidate=number),
            change=child.change,
            hyperparameters=child.point,
            span=Span(first, first + 2),
            checkpoint_every=0.0,
        )
        for number, child in enumerate(children)
    ]


class Governing:
    """What steps were taken with while the block ran, read from PyTorch's own hooks."""

    def __enter__(self):
        self.groups, self.dropouts = [], set()
        self.hooks = [register_optimizer_step_pre_hook(self.step), register_module_forward_pre_hook(self.forward)]
        TunableProblem.used_losses.clear()
        TunableProblem.used_strengths.clear()
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()

    def step(self, optimizer, *_):
        self.groups.append({key: value for key, value in optimizer.param_groups[0].items() if key != "params"})

    def forward(self, module, _):
        if isinstance(module, torch.nn.Dropout) and module.training:
            self.dropouts.add(module.p)

    def assert_only(self, point):
        assert self.groups
        for group in self.groups:
            assert (group["lr"], group["weight_decay"]) == (point.lr, point.weight_decay)
            assert group["betas"] == (point.momentum, point.beta2)
        assert self.dropouts == {point.dropout}
        assert set(TunableProblem.used_losses) == {point.loss}
        assert set(TunableProblem.used_strengths) == ({point.augmentation} - {0.0})


@pytest.mark.parametrize("operator", ["lr", "weight_decay", "momentum", "loss", "dropout", "augmentation"])
def test_a_changed_value_governs_every_step_of_the_child_and_after_its_checkpoint(tunable, operator):
    parent = run_stage(initial_of(tunable))
    for spec in children_of(tunable, parent, operator):
        assert spec.hyperparameters != parent.hyperparameters
        with Governing() as undisturbed:
            run_stage(spec)
        undisturbed.assert_only(spec.hyperparameters)
        archive = spec.archive.read_bytes()
        spec.archive.unlink()
        with observed_by(power_cut_after(parent.last_epoch + 2)), pytest.raises(PowerCutError):
            run_stage(spec)
        with Governing() as resumed:
            run_stage(spec)
        resumed.assert_only(spec.hyperparameters)
        assert 0 < len(resumed.groups) < len(undisturbed.groups)
        assert spec.archive.read_bytes() == archive


class FirstStep:
    """The optimizer's state before the first step of the block, ``parameter/key`` → tensor, from PyTorch's own hook."""

    def __enter__(self):
        self.state = None
        self.hook = register_optimizer_step_pre_hook(self.step)
        return self

    def __exit__(self, *_):
        self.hook.remove()

    def step(self, optimizer, *_):
        if self.state is None:
            names = [name for name, _ in TinyNet().named_parameters()]
            named = zip(names, optimizer.param_groups[0]["params"], strict=True)
            self.state = {
                f"{name}/{key}": value.clone() for name, one in named for key, value in optimizer.state[one].items()
            }


def assert_equal(state, expected):
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


KEEPING = ["activation", "batch_size", "lr", "weight_decay", "loss", "dropout", "augmentation"]


@pytest.mark.parametrize("operator", KEEPING)
def test_a_child_starts_with_the_parents_optimizer_state(tunable, operator):
    """Its first step finds both moments as the parent left them, and the count of steps goes on."""
    parent = run_stage(initial_of(tunable))
    before = read_archive(initial_of(tunable).archive).optimizer
    assert {key.rpartition("/")[2] for key in before} == {"step", "exp_avg", "exp_avg_sq"}
    for spec in children_of(tunable, parent, operator):
        with FirstStep() as first:
            run_stage(spec)
        assert_equal(first.state, before)
        after = read_archive(spec.archive).optimizer
        steps = 3 * -(-70 // spec.hyperparameters.batch_size)
        assert after["head.bias/step"] == before["head.bias/step"] + steps


def test_a_child_of_another_momentum_starts_with_what_is_carried_over(tunable):
    parent = run_stage(initial_of(tunable))
    before = read_archive(initial_of(tunable).archive).optimizer
    for spec in children_of(tunable, parent, "momentum"):
        with FirstStep() as first:
            run_stage(spec)
        assert_equal(first.state, carry_state(before, parent.hyperparameters, spec.hyperparameters))
        moment = {"momentum": "exp_avg", "beta2": "exp_avg_sq"}[spec.change.target]
        assert not torch.equal(first.state[f"head.bias/{moment}"], before[f"head.bias/{moment}"])


def test_training_waits_neither_for_pytorchs_compiler_nor_for_sklearn(tiny_config):
    """Importing torch._dynamo and sklearn would cost every process some four seconds."""
    starts = [{"optimizer": optimizer, "batch_size": 16} for optimizer in OPTIMIZERS]
    specs = []
    for plan in (Plan.of(tiny_config(start=start)) for start in starts):
        base = plan.base()
        specs += [base, plan.initial(run_stage(base))]
        base.archive.unlink()
    program = """
import sys
from miha.training.spec import StageSpec
from miha.training.stage import run_stage
for line in sys.stdin:
    run_stage(StageSpec.model_validate_json(line))
assert not {"torch._dynamo", "sklearn"} & set(sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, "-c", program],
        input="\n".join(spec.model_dump_json() for spec in specs),
        text=True,
        check=True,
        env=environment,
    )
