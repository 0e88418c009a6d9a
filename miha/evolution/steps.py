"""The hyperparameters of a mainline as steps: so many epochs, and what changes before them.

A run writes its own as ``schedule.yaml``; a replay trains along one, without any population.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from miha.errors import ConfigError
from miha.evolution.change import Change
from miha.evolution.hyperparameter import Offer, Section
from miha.evolution.hyperparameters.activation import Mixed
from miha.evolution.hyperparameters.optimizer import OPTIMIZERS
from miha.evolution.point import Hyperparameters, Start
from miha.files import write_text

FILE = "schedule.yaml"
_HEAD = """\
# What the mainline of a run trained, step by step: `miha replay` trains along it. Of the first step `set` holds all
# hyperparameters, of every other what changes before it. With `annealing` the learning rate falls to zero.
"""


class Step(Section):
    """Epochs with the same hyperparameters."""

    epochs: int = Field(ge=1, description="how many")
    annealing: bool = Field(False, description="let the learning rate fall to zero over them")
    set: dict[str, Any] = Field(default_factory=dict, description="hyperparameters that change before them")


class Leg(NamedTuple):
    """A step with all its hyperparameters, and in words what changed before it."""

    epochs: int
    annealing: bool
    point: Hyperparameters
    change: Change = Change()


def steps_of(legs: Sequence[Leg], apart: bool = False) -> list[Step]:
    """The legs of a mainline as steps; between the first and the last, equals that follow each other become one.

    With ``apart`` they do not: a mean of weights, or a transition, begins anew with each leg.
    """
    merged: list[Leg] = []
    for number, leg in enumerate(legs):
        inner = 1 < number < len(legs) - 1 and not apart
        if inner and merged[-1].point == leg.point and not (leg.annealing or merged[-1].annealing):
            merged[-1] = leg._replace(epochs=merged[-1].epochs + leg.epochs)
        else:
            merged.append(leg)
    steps, before = [], None
    for leg in merged:
        steps.append(Step(epochs=leg.epochs, annealing=leg.annealing, set=_differences(before, leg.point)))
        before = leg.point
    return steps


def legs_of(steps: Sequence[Step], offer: Offer) -> list[Leg]:
    """All hyperparameters of each step.

    Raises:
        ConfigError: a key or value that is wrong, or that the problem or its network has no place for.
    """
    legs: list[Leg] = []
    for number, step in enumerate(steps, start=1):
        before = legs[-1].point if legs else None
        activations = {**(before.activations if before else offer.activations), **_layers(number, step)}
        try:
            start = Start.model_validate(_values(before, step))
            point = Hyperparameters.model_validate({**start.point(offer).model_dump(), "activations": activations})
        except (ValidationError, ConfigError) as error:
            detail = error.errors()[0] if isinstance(error, ValidationError) else None
            reason = f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" if detail else str(error)
            raise ConfigError(f"step {number} of the schedule to replay does not fit: {reason}") from None
        for layer, name in activations.items():
            if not Mixed.parse(name).names <= {*offer.layers.get(layer, ()), offer.activations.get(layer)}:
                allowed = ", ".join(f"{one} ({'/'.join(names)})" for one, names in offer.layers.items()) or "none"
                raise ConfigError(
                    f"step {number} of the schedule to replay gives {layer} the activation {name}; the network lets "
                    f"change {allowed}. Edit the schedule, or replay one of this network."
                )
        legs.append(Leg(step.epochs, step.annealing, point, _change(before, point)))
    return legs


def read_steps(path: Path) -> list[Step]:
    """The steps in a ``schedule.yaml``.

    Raises:
        ConfigError: it cannot be read, or a key or value is wrong.
    """
    try:
        return TypeAdapter(list[Step]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}. Give the {FILE} of a finished run.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path} is no schedule: {place}: {first['msg']} (got {first['input']!r}).") from None


def write_steps(path: Path, steps: Iterable[Step]) -> None:
    """Write ``schedule.yaml``, with the mainline's epochs of each step as a comment."""
    lines, first = [_HEAD], 1
    for step in steps:
        content = step.model_dump(exclude_defaults=True)
        entry = yaml.safe_dump([content], sort_keys=False, default_flow_style=None, width=10_000)
        lines.append(f"# epochs {first} to {first + step.epochs - 1}\n{entry}")
        first += step.epochs
    write_text(path, "".join(lines))


def _values(before: Hyperparameters | None, step: Step) -> dict[str, Any]:
    """All but activations: what a step sets, and else what was before it, as far as its optimizer has it."""
    values = {**(before.model_dump() if before else {}), **step.set}
    kind = OPTIMIZERS.get(str(values.get("optimizer")))
    lacking = {key for key, own in kind.own.items() if own is None and key not in step.set} if kind else set()
    return {key: value for key, value in values.items() if key not in {"activations", *lacking}}


def _layers(number: int, step: Step) -> dict[str, str]:
    layers = step.set.get("activations", {})
    if not isinstance(layers, dict):
        raise ConfigError(
            f"step {number} of the schedule to replay: activations must be `layer: name`, got {layers!r}."
        )
    return layers


def _differences(before: Hyperparameters | None, after: Hyperparameters) -> dict[str, Any]:
    old = before.model_dump() if before else {}
    changed = {key: value for key, value in after.model_dump().items() if value != old.get(key)}
    if "activations" in changed:
        former = old.get("activations", {})
        changed["activations"] = {k: v for k, v in changed["activations"].items() if v != former.get(k)}
    return changed


def _change(before: Hyperparameters | None, after: Hyperparameters) -> Change:
    """In words what a step changes; an operator of its own, since a step may change several."""
    changed = _differences(before, after) if before else {}
    if not changed:
        return Change()
    old = before.model_dump() if before else {}
    return Change(
        operator="replay",
        target=", ".join(changed),
        before=", ".join(_formatted(key, old[key], changed[key]) for key in changed),
        after=", ".join(_formatted(key, value, value) for key, value in changed.items()),
    )


def _formatted(key: str, value: Any, changed: Any) -> str:
    if key == "activations":
        return " ".join(f"{layer} {value.get(layer)}" for layer in changed)
    return f"{value:g}" if isinstance(value, float) else str(value)
