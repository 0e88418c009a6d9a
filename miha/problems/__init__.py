"""What is learned: problems, and the networks that learn them."""

import importlib
from typing import Any

from miha.errors import ConfigError
from miha.problems.base import Problem
from miha.problems.gapfill import GapFill
from miha.problems.mnist import Mnist

BUILT_IN: dict[str, type[Problem]] = {"gapfill": GapFill, "mnist": Mnist}


def build_problem(said: Any) -> Problem:
    """A problem from its settings; ``name`` is that of a built-in one, or ``module:Class``, which is imported.

    Raises:
        ConfigError: no such problem.
        pydantic.ValidationError: its settings are wrong.
    """
    if isinstance(said, Problem):
        return said
    name = str(said.get("name", ""))
    kind = BUILT_IN.get(name) or _import(name)
    return kind.model_validate(said)


def _import(name: str) -> type[Problem]:
    module, _, cls = name.partition(":")
    known = f"known are {', '.join(BUILT_IN)}, and module:Class of your own"
    try:
        kind = getattr(importlib.import_module(module), cls)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"no problem {name!r} ({error}); {known}.") from error
    if not (isinstance(kind, type) and issubclass(kind, Problem)):
        raise ConfigError(f"{name} is no subclass of miha.Problem; {known}.")
    return kind


__all__ = ["BUILT_IN", "GapFill", "Mnist", "Problem", "build_problem"]
