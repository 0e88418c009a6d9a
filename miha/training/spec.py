"""The specification of a stage, as JSON. Its digest covers all that decides the weights, and nothing else."""

import functools
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from miha.errors import ConfigError, DataError
from miha.evolution.change import UNCHANGED, Change
from miha.evolution.hyperparameter import Offer
from miha.evolution.hyperparameters.activation import find_activations
from miha.evolution.hyperparameters.dropout import find_dropouts
from miha.evolution.point import Hyperparameters
from miha.files import digest_json
from miha.problems.problem import Problem
from miha.problems.registry import build_problem
from miha.problems.samples import Data
from miha.records.archive import FORMAT_VERSION
from miha.records.record import StageId, StageRecord
from miha.training.compute import Compute
from miha.training.loop import Span, seeded
from miha.training.pretrained import Pretrained
from miha.training.transition import Transition


class ProblemSpec(BaseModel):
    """How another process builds the problem and finds its samples.

    Attributes:
        settings: of the problem, without paths.
        fingerprint: of the data.
        code: digest of the network's structure, and of the source of the user's own classes.
        stamp: what tells cheaply that the data are as they were, or "" where nothing does; not in the digest.
        data: path of the data, not in the digest.
        cache: path of the samples, not in the digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: dict[str, Any]
    fingerprint: str
    code: str
    stamp: str
    data: str
    cache: str

    @classmethod
    def of(cls, problem: Problem, cache: Path) -> "ProblemSpec":
        """Describe ``problem``; reads its data once for the fingerprint."""
        return cls(
            settings=problem.settings(),
            code=_digest_code(problem),
            fingerprint=problem.fingerprint(),
            stamp=problem.stamp(),
            data=str(problem.data),
            cache=str(cache),
        )

    def build(self) -> Problem:
        """The problem itself."""
        return build_problem({**self.settings, "data": self.data})

    def opened(self, seed: int) -> "Opened":
        """Problem, samples and archive extras; a process loads them once and keeps them for the next stage.

        Raises:
            DataError: the data are not those of the fingerprint any more.
        """
        return _open(self.model_dump_json(), seed)


class Opened:
    """A problem with its samples, and what its archives carry."""

    def __init__(self, spec: ProblemSpec, seed: int) -> None:
        self.problem, cache = spec.build(), Path(spec.cache)
        unchanged = bool(spec.stamp) and self.problem.stamp() == spec.stamp
        if not unchanged and self.problem.fingerprint() != spec.fingerprint:
            raise DataError(f"{spec.data} changed after the run had begun. Put it back as it was, or begin a new run.")
        self.data: Data = self.problem.load(cache, seed)
        self.extras = self.problem.extras(cache, seed)


@functools.lru_cache(maxsize=1)
def _open(spec_json: str, seed: int) -> Opened:
    return Opened(ProblemSpec.model_validate_json(spec_json), seed)


def _digest_code(problem: Problem) -> str:
    """Changes when the network does, or the source of a class of the user's own: of the problem, or in the network."""
    with seeded(0):
        network = problem.build_network()
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    classes = {kind for one in (problem, *network.modules()) for kind in type(one).__mro__}
    own = sorted(_source(kind) for kind in classes if kind.__module__.partition(".")[0] not in _LIBRARIES)
    return digest_json([repr(network), shapes, problem.channels_last, own])


_LIBRARIES = {*sys.stdlib_module_names, "miha", "pydantic", "torch"}  # where a user's own classes are not


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made at run time, e.g. by torch.fx
        return kind.__qualname__


def offer_of(problem: Problem) -> Offer:
    """What a problem and its fresh network let change.

    Raises:
        ConfigError: the problem names a layer that is no activation of the network.
    """
    with seeded(0):
        network = problem.build_network()
    layers, present = problem.layers(network), find_activations(network)
    if unknown := sorted(set(layers) - set(present)):
        raise ConfigError(
            f"layers() of {problem.name} names {', '.join(unknown)}, but the network's activations are "
            f"{', '.join(present) or 'none'}. A module that is shared goes by its first path."
        )
    return Offer(
        layers=layers,
        activations={path: present[path] for path in layers},
        losses=problem.offered_losses(),
        dropouts=tuple(sorted(set(find_dropouts(network).values()))),
        augmentation=problem.draws_per_distortion > 0,
    )


class Parent(BaseModel):
    """The stage from whose archive another starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: StageId
    digest: str


class StageSpec(BaseModel):
    """All that one stage needs to be trained.

    Attributes:
        stage: which one it is.
        change: how its hyperparameters differ from its parent's.
        parent: whose weights it starts from; None: fresh ones.
        pretrained: of a stage without a parent, the archive whose weights it starts from instead.
        members: of a soup, the candidates to average, the fittest first.
        hyperparameters: the point of the search space it trains with.
        transition: from the activations of its parent to its own; None: at once, or they are the same.
        span: mainline numbers of its epochs.
        until: of a heat, the number of its last epoch, before the end of the span.
        seed: of the run.
        order: number of its own order of samples, augmentation and dropout; 0: that of the mainline.
        averaging: epochs that the mean of the weights reaches back, which is judged in their place; 0: no mean.
        problem: what it learns.
        compute: what it computes with.
        checkpoint_every: seconds of training between epoch checkpoints; not in the digest.
        timeout: seconds after which it counts as hung; not in the digest.
        run_dir: where its archives lie; not in the digest.
        heat_until: of a candidate whose first epochs are a heat, the number of the last of them; not in the digest,
            since the bits are those of a candidate that trains in one go.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: StageId
    change: Change = UNCHANGED
    parent: Parent | None
    pretrained: Pretrained | None = None
    members: tuple[Parent, ...] = ()
    hyperparameters: Hyperparameters
    transition: Transition | None = None
    span: Span
    until: int | None = None
    seed: int
    order: int = 0
    averaging: float = 0.0
    problem: ProblemSpec
    compute: Compute
    checkpoint_every: float = Field(10.0, ge=0)
    timeout: float | None = None
    run_dir: str
    heat_until: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over what decides the result; not over names, paths, or the clock."""
        content = self.model_dump(mode="json", include={"hyperparameters", "span", "until", "seed", "order", "compute"})
        content["parent"] = self.parent and self.parent.digest
        content["members"] = [member.digest for member in self.members]
        content["problem"] = self.problem.model_dump(mode="json", include={"settings", "fingerprint", "code"})
        if self.pretrained:
            content["pretrained"] = self.pretrained.digest
        if self.averaging:
            content["averaging"] = self.averaging
        if self.transition:
            content["transition"] = self.transition.model_dump()
        return digest_json({**content, "format_version": FORMAT_VERSION})

    @property
    def name(self) -> str:
        """What its files are called after."""
        return self.stage.name

    @property
    def epochs(self) -> int:
        """How many epochs it trains: those of its heat not counted, of the base and of a soup 0."""
        if self.members:
            return 0
        return self.last - max(self.span.first, 1) + 1 - self.heat_epochs

    @property
    def last(self) -> int:
        """Mainline number of its last epoch."""
        return self.span.last if self.until is None else self.until

    @property
    def heat_epochs(self) -> int:
        """How many epochs of a candidate are trained in its heat."""
        return 0 if self.heat_until is None else self.heat_until - self.span.first + 1

    @property
    def heat(self) -> "StageSpec":
        """The first epochs of a candidate, as a stage of their own."""
        stage = self.stage.model_copy(update={"kind": "heat"})
        return self.model_copy(update={"stage": stage, "until": self.heat_until, "heat_until": None})

    @property
    def archive(self) -> Path:
        """Where its archive lies."""
        return self.stage.archive(Path(self.run_dir))

    @property
    def checkpoint(self) -> Path:
        """Where it keeps its last epoch while it trains."""
        return self.archive.with_name(f"{self.name}_checkpoint.zip")

    def record(self, epochs: Sequence[Any]) -> StageRecord:
        """The record of this stage after these epochs."""
        return StageRecord(
            stage=self.stage,
            parent=self.parent and self.parent.stage,
            change=self.change,
            digest=self.digest,
            hyperparameters=self.hyperparameters,
            epochs=tuple(epochs),
        )


def longest_first(specs: Sequence[StageSpec]) -> list[StageSpec]:
    """The order to start candidates in: one of small batches has the most steps, and last it would be waited for."""
    return sorted(specs, key=lambda spec: spec.hyperparameters.batch_size)
