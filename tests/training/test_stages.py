import importlib
import json
import linecache
import os
import subprocess
import sys

import pytest
import torch
from tiny import TunableProblem
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from miha.errors import ArchiveError, DataError
from miha.evolution.hyperparameters import OPTIMIZERS
from miha.evolution.mutation import OPERATORS, SearchSpace
from miha.experiment import Experiment
from miha.progress import observed_by
from miha.records.archive import archive_path, read_archive, read_manifest
from miha.training.stages import ProblemSpec, StageSpec, run_stage


@pytest.fixture
def experiment(tiny, tiny_config):
    return Experiment(tiny_config(problem=tiny))


def events_of(spec):
    events = []
    with observed_by(events.append):
        record = run_stage(spec)
    return record, [event["event"] for event in events]


def test_a_spec_is_json(experiment):
    spec = experiment.initial()
    assert StageSpec.model_validate(json.loads(spec.model_dump_json())) == spec


def test_a_stage_leaves_an_archive_that_carries_its_record(experiment):
    record = run_stage(experiment.initial())
    manifest = read_manifest(archive_path(experiment.directory.path, "init"))
    assert manifest.record == record
    assert manifest.input_shape == (2,)
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]


def test_a_stage_that_is_there_is_not_trained_again(experiment):
    first, trained = events_of(experiment.initial())
    second, reused = events_of(experiment.initial())
    assert first == second
    assert "epoch" in trained
    assert reused == ["stage_reused"]


def test_a_checkpoint_that_a_dead_process_left_beside_a_whole_archive_goes(experiment):
    spec = experiment.initial()
    run_stage(spec)
    spec.checkpoint.write_bytes(spec.archive.read_bytes())
    assert events_of(spec)[1] == ["stage_reused"]
    assert not spec.checkpoint.exists()


def test_a_stage_of_another_digest_or_not_whole_is_trained_again(experiment):
    spec = experiment.initial()
    run_stage(spec)
    assert "epoch" in events_of(spec.model_copy(update={"epochs": 1}))[1]
    spec.archive.write_bytes(spec.archive.read_bytes()[:-200])
    assert "epoch" in events_of(spec)[1]


NOT_IN_DIGEST = {"run_dir": "/elsewhere", "checkpoint_every": 0.0, "name": "x", "change": "another word", "parent": "y"}
IN_DIGEST = {
    "epochs": 9,
    "first_epoch": 4,
    "seed": 9,
    "threads": 2,
    "device": "cuda",
    "precision": "bfloat16",
    "parent_digest": "z",
    "annealing": True,
}


@pytest.mark.parametrize(("field", "value"), NOT_IN_DIGEST.items())
def test_the_digest_does_not_depend_on_where_and_how(experiment, field, value):
    spec = experiment.initial()
    assert spec.model_copy(update={field: value}).digest == spec.digest


@pytest.mark.parametrize(("field", "value"), IN_DIGEST.items())
def test_the_digest_depends_on_what_decides_the_weights(experiment, field, value):
    spec = experiment.initial()
    assert spec.model_copy(update={field: value}).digest != spec.digest


def test_the_digest_depends_on_the_source_of_the_users_own_classes(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text("from torch import nn\n\nclass Net(nn.Linear):\n    scale = 1.0\n")
    (tmp_path / "own.py").write_text(
        "import nets\nfrom tiny import TinyProblem\n\nclass Own(TinyProblem):\n"
        "    def build_network(self):\n        return nets.Net(2, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def digest(file, before, after):
        text = (tmp_path / file).read_text()
        (tmp_path / file).write_text(text.replace(before, after))
        for name in ("nets", "own"):
            sys.modules.pop(name, None)
        linecache.checkcache()
        importlib.invalidate_caches()
        return ProblemSpec.of(importlib.import_module("own").Own(), tmp_path).network

    first = digest("own.py", "", "")
    assert digest("own.py", "import nets", "# a comment elsewhere\nimport nets") == first
    second = digest("nets.py", "1.0", "2.00")
    third = digest("own.py", "return nets.Net(2, 1)", "return nets.Net(2, 1, bias=True)")
    assert len({first, second, third}) == 3


def test_data_that_changed_after_the_run_had_begun_are_told(experiment):
    spec = experiment.initial()
    other = spec.problem.model_copy(update={"fingerprint": "of other data"})
    with pytest.raises(DataError, match="changed after the run had begun"):
        run_stage(spec.model_copy(update={"problem": other}))


def test_the_digest_depends_on_problem_data_and_hyperparameters_but_not_on_paths(experiment):
    spec = experiment.initial()

    def digest(**update):
        return spec.model_copy(update={"problem": spec.problem.model_copy(update=update)}).digest

    assert digest(data="/a", cache="/b") == spec.digest
    assert digest(fingerprint="other") != spec.digest
    assert digest(settings={"points": 5}) != spec.digest
    assert digest(network="other") != spec.digest
    other = spec.hyperparameters.model_copy(update={"batch_size": 7})
    assert spec.model_copy(update={"hyperparameters": other}).digest != spec.digest


def test_a_child_starts_from_its_parent_and_the_control_continues_it_bit_for_bit(experiment):
    """Two stages of the same hyperparameters are one longer stage: state, order and dropout go on."""
    initial = experiment.initial()
    parent = run_stage(initial)
    control = experiment.population(1, parent)[0]
    run_stage(control)
    longer = initial.model_copy(update={"name": "longer", "epochs": 4})
    run_stage(longer)
    _, weights, state = read_archive(control.archive)
    _, expected, expected_state = read_archive(longer.archive)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert all(torch.equal(state[name], expected_state[name]) for name in expected_state)


def test_a_stage_continues_from_its_checkpoint_bit_for_bit(experiment, monkeypatch):
    spec = experiment.initial().model_copy(update={"epochs": 6, "checkpoint_every": 0.0})
    record = run_stage(spec)
    undisturbed = spec.archive.read_bytes()
    spec.archive.unlink()

    class PowerCutError(Exception):
        pass

    def cut(event):
        if event["event"] == "epoch" and event["epoch"] == 5:
            raise PowerCutError

    with observed_by(cut), pytest.raises(PowerCutError):
        run_stage(spec)
    assert spec.checkpoint.exists()
    again, events = events_of(spec)
    assert events.count("epoch") == 1  # the sixth; the five that were announced were kept
    assert again == record
    assert spec.archive.read_bytes() == undisturbed
    assert not spec.checkpoint.exists()


def test_a_checkpoint_that_is_damaged_or_of_another_stage_is_passed_over(experiment):
    spec = experiment.initial().model_copy(update={"epochs": 3})
    spec.checkpoint.parent.mkdir(parents=True)
    spec.checkpoint.write_bytes(b"half a checkp")
    _, events = events_of(spec)
    assert events.count("epoch") == 3


def test_a_missing_or_altered_parent_is_told(experiment):
    parent = run_stage(experiment.initial())
    child = experiment.population(1, parent)[1]
    with pytest.raises(ArchiveError, match="another one"):
        run_stage(child.model_copy(update={"parent_digest": "0" * 64}))
    archive_path(experiment.directory.path, "init").unlink()
    with pytest.raises(ArchiveError, match="no such archive"):
        run_stage(child)


def test_an_activation_found_deep_in_the_module_tree_is_changed(experiment):
    parent = run_stage(experiment.initial())
    assert set(experiment.start.activations) == {"body.first.1", "act"}
    activations = {**parent.hyperparameters.activations, "body.first.1": "GELU"}
    changed = parent.hyperparameters.model_copy(update={"activations": activations})
    spec = experiment.population(1, parent)[0].model_copy(update={"hyperparameters": changed})
    record = run_stage(spec)
    assert record.hyperparameters.activations["body.first.1"] == "GELU"
    assert record.losses != run_stage(experiment.population(1, parent)[0]).losses


@pytest.fixture
def tunable(tiny_config):
    return Experiment(tiny_config(problem=TunableProblem()))


def children_of(experiment, parent, operator):
    """One stage for each child of an operator, from the trained parent."""
    control = experiment.population(1, parent)[0]
    for number, child in enumerate(OPERATORS[operator](parent.hyperparameters, SearchSpace(), experiment.offer)):
        changed = {"hyperparameters": child.hyperparameters, "name": f"1_{number}", "epochs": 3}
        yield control.model_copy(update={**changed, "checkpoint_every": 0.0})


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
    parent = run_stage(tunable.initial())

    class PowerCutError(Exception):
        pass

    def cut(event):
        if event["event"] == "epoch" and event["epoch"] == parent.last_epoch + 2:
            raise PowerCutError

    for spec in children_of(tunable, parent, operator):
        assert spec.hyperparameters != parent.hyperparameters
        with Governing() as undisturbed:
            run_stage(spec)
        undisturbed.assert_only(spec.hyperparameters)
        archive = spec.archive.read_bytes()
        spec.archive.unlink()
        with observed_by(cut), pytest.raises(PowerCutError):
            run_stage(spec)
        with Governing() as resumed:
            run_stage(spec)
        resumed.assert_only(spec.hyperparameters)
        assert 0 < len(resumed.groups) < len(undisturbed.groups)
        assert spec.archive.read_bytes() == archive


@pytest.mark.parametrize("operator", ["batch_size", "lr", "weight_decay", "loss", "dropout", "augmentation"])
def test_a_child_starts_with_the_parents_optimizer_state(tunable, operator):
    """The count of steps goes on, as do both moments, which the first step would else make anew."""
    parent = run_stage(tunable.initial())
    _, _, before = read_archive(archive_path(tunable.directory.path, "init"))
    for spec in children_of(tunable, parent, operator):
        run_stage(spec)
        _, _, after = read_archive(spec.archive)
        steps = 3 * -(-70 // spec.hyperparameters.batch_size)
        assert after["head.bias/step"] == before["head.bias/step"] + steps


HYPERPARAMETERS = {
    "optimizer": "AdamW",
    "lr": 0.5,
    "weight_decay": 0.5,
    "momentum": 0.5,
    "beta2": 0.5,
    "batch_size": 7,
    "activations": {"act": "ReLU"},
    "loss": "l1",
    "dropout": 0.5,
    "augmentation": 0.5,
}


@pytest.mark.parametrize(("field", "value"), HYPERPARAMETERS.items())
def test_the_digest_depends_on_every_hyperparameter(tunable, field, value):
    spec = tunable.initial()
    assert set(HYPERPARAMETERS) == set(type(spec.hyperparameters).model_fields)
    other = spec.hyperparameters.model_copy(update={field: value})
    assert spec.model_copy(update={"hyperparameters": other}).digest != spec.digest


def test_training_waits_neither_for_pytorchs_compiler_nor_for_sklearn(tiny, tiny_config):
    """Importing torch._dynamo and sklearn would cost every process some four seconds."""
    starts = [{"optimizer": optimizer, "batch_size": 16} for optimizer in OPTIMIZERS]
    specs = [Experiment(tiny_config(problem=tiny, start=start)).initial().model_dump_json() for start in starts]
    program = """
import sys
from miha.training.stages import StageSpec, run_stage
for line in sys.stdin:
    run_stage(StageSpec.model_validate_json(line))
assert not {"torch._dynamo", "sklearn"} & set(sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], input="\n".join(specs), text=True, check=True, env=environment)
