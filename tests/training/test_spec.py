import importlib
import json
import linecache
import os
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from miha.errors import ConfigError, DataError
from miha.evolution.change import Change
from miha.plan import Plan
from miha.records.record import StageId
from miha.training.compute import Compute
from miha.training.loop import Span
from miha.training.pretrained import Pretrained
from miha.training.spec import Parent, ProblemSpec, StageSpec, offer_of
from miha.training.stage import run_stage
from miha.training.transition import Transition
from tests.support.runs import initial_of
from tests.support.tiny import TinyProblem, TunableProblem


@pytest.fixture
def plan(tiny_config):
    return Plan.of(tiny_config())


@pytest.fixture
def tunable(tiny_config):
    return Plan.of(tiny_config(problem=TunableProblem()))


def changed(spec, **update):
    return spec.model_copy(update=update)


def test_a_spec_is_json(plan):
    for spec in (initial_of(plan), child_of(plan)):
        assert StageSpec.model_validate(json.loads(spec.model_dump_json())) == spec


def test_the_base_trains_no_epoch_and_initial_training_begins_with_the_first(plan):
    base, initial = plan.base(), initial_of(plan)
    assert (base.span, base.epochs) == (Span(0, 0), 0)
    assert (initial.span, initial.epochs) == (Span(1, 2), 2)
    assert initial.parent == Parent(stage=base.stage, digest=base.digest)


def test_a_base_that_hangs_is_ended_too(tiny_config):
    """A limit of 0 seconds would be none to the pool."""
    assert Plan.of(tiny_config(faults={"timeout": 5.0})).base().timeout > 0


def child_of(plan, stage=StageId(kind="initial", cycle=0), digest="0" * 64):
    """The spec of a child whose parent was never trained."""
    return changed(initial_of(plan), parent=Parent(stage=stage, digest=digest))


NOT_IN_DIGEST = {
    "run_dir": "/elsewhere",
    "checkpoint_every": 0.0,
    "timeout": 5.0,
    "stage": StageId(kind="candidate", cycle=3, candidate=1),
    "change": Change(operator="lr", target="lr", before=0.1, after=0.2),
    "heat_until": 3,
    "parent": Parent(stage=StageId(kind="fixing", cycle=7), digest="0" * 64),
}


IN_DIGEST = [
    ("span", Span(1, 9)),
    ("span", Span(2, 3)),
    ("span", Span(1, 2, annealing=True)),
    ("transition", Transition(epochs=1, activations={"act": "ReLU"})),
    ("seed", 9),
    ("order", 2),
    ("averaging", 1.0),
    ("until", 3),
    ("members", (Parent(stage=StageId(kind="candidate", cycle=1, candidate=0), digest="0" * 64),)),
    ("compute", Compute(threads=2)),
    ("compute", Compute(device="cuda")),
    ("compute", Compute(precision="bfloat16")),
    ("parent", Parent(stage=StageId(kind="initial", cycle=0), digest="1" * 64)),
    ("parent", None),
    ("pretrained", Pretrained(path=Path("/a.zip"), digest="1" * 64)),
]


@pytest.mark.parametrize(("field", "value"), NOT_IN_DIGEST.items())
def test_the_digest_does_not_depend_on_where_and_how(plan, field, value):
    spec = child_of(plan)
    assert getattr(spec, field) != value
    assert changed(spec, **{field: value}).digest == spec.digest


@pytest.mark.parametrize(("field", "value"), IN_DIGEST)
def test_the_digest_depends_on_what_decides_the_weights(plan, field, value):
    spec = child_of(plan)
    assert getattr(spec, field) != value
    assert changed(spec, **{field: value}).digest != spec.digest


def test_every_part_of_a_spec_is_known_to_be_in_its_digest_or_not():
    known = {*NOT_IN_DIGEST, *(field for field, _ in IN_DIGEST), "hyperparameters", "problem"}
    assert set(StageSpec.model_fields) == known


def test_the_digest_depends_on_the_source_of_the_users_own_classes(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text("from torch import nn\n\nclass Net(nn.Linear):\n    scale = 1.0\n")
    (tmp_path / "own.py").write_text(
        "import nets\nfrom tests.support.tiny import TinyProblem\n\nclass Own(TinyProblem):\n"
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
        return ProblemSpec.of(importlib.import_module("own").Own(), tmp_path).code

    first = digest("own.py", "", "")
    assert digest("own.py", "import nets", "# a comment elsewhere\nimport nets") == first
    second = digest("nets.py", "1.0", "2.00")
    third = digest("own.py", "return nets.Net(2, 1)", "return nets.Net(2, 1, bias=True)")
    assert len({first, second, third}) == 3


def test_the_digest_depends_on_problem_data_and_hyperparameters_but_not_on_paths(plan):
    spec = initial_of(plan)

    def digest(**update):
        return changed(spec, problem=changed(spec.problem, **update)).digest

    assert digest(data="/a", cache="/b", stamp="of another day") == spec.digest
    assert digest(fingerprint="other") != spec.digest
    assert digest(settings={"points": 5}) != spec.digest
    assert digest(code="other") != spec.digest


OTHER_VALUES = {
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


@pytest.mark.parametrize(("field", "value"), OTHER_VALUES.items())
def test_the_digest_depends_on_every_hyperparameter(tunable, field, value):
    spec = initial_of(tunable)
    assert set(OTHER_VALUES) == set(type(spec.hyperparameters).model_fields)
    other = changed(spec.hyperparameters, **{field: value})
    assert changed(spec, hyperparameters=other).digest != spec.digest


class Misnamed(TinyProblem):
    """Names the second path of a shared activation."""

    def layers(self, network):
        return {"same": ("ReLU", "Tanh")}


def test_a_layer_that_is_no_activation_of_the_network_is_reported_with_those_that_are():
    with pytest.raises(ConfigError, match=r"names same, but the network's activations are body\.first\.1, act"):
        offer_of(Misnamed())


def test_data_that_changed_after_the_run_had_begun_are_reported(plan):
    spec = initial_of(plan)
    other = changed(spec.problem, fingerprint="of other data")
    with pytest.raises(DataError, match="changed after the run had begun"):
        run_stage(changed(spec, problem=other))


class Dated(TinyProblem):
    """Data in a file, whose date tells that they are as they were."""

    reads: ClassVar[list[str]] = []

    def fingerprint(self):
        self.reads.append((self.data / "numbers").read_text())
        return self.reads[-1]

    def stamp(self):
        return str((self.data / "numbers").stat().st_mtime_ns)


def test_data_are_read_again_only_where_their_stamp_differs(tmp_path):
    Dated.reads.clear()
    numbers = tmp_path / "numbers"
    numbers.write_text("1 2 3")
    spec = ProblemSpec.of(Dated(data=tmp_path), tmp_path / "cache")
    spec.opened(0)
    assert len(Dated.reads) == 1
    os.utime(numbers, (1, 1))
    spec.opened(1)
    assert len(Dated.reads) == 2, "another date, the same numbers"
    numbers.write_text("4 5 6")
    with pytest.raises(DataError, match="changed after the run had begun"):
        spec.opened(2)


def test_a_process_loads_its_samples_once_for_all_stages(plan):
    spec = initial_of(plan)
    assert spec.problem.opened(0) is changed(spec.problem).opened(0)
    assert spec.problem.opened(0) is not spec.problem.opened(1)
