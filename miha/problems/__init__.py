"""What is learned: problems, and the networks that learn them."""

import importlib
from pathlib import Path
from typing import Any

from miha.errors import ArchiveError
from miha.problems.base import Problem
from miha.problems.gapfill import GapFill
from miha.problems.mnist import Mnist

BUILT_IN: dict[str, type[Problem]] = {"gapfill": GapFill, "mnist": Mnist}


def build_problem(said: Any) -> Problem:
    """A problem from its settings; ``name`` is that of a built-in one, or ``module:Class``, which is imported.

    Raises:
        ValueError: no such problem, or its settings are wrong (pydantic.ValidationError).
    """
    if isinstance(said, Problem):
        return said
    if not isinstance(said, dict):
        raise ValueError(f"must be a section with a name, but is {said!r}")
    name = str(said.get("name", ""))
    kind = BUILT_IN.get(name) or _import(name)
    return kind.model_validate(said)


def archived_problem(settings: dict[str, Any], data: Path = Path()) -> Problem:
    """The problem that an archive is of, from the settings in its manifest.

    Raises:
        ArchiveError: it cannot be built here.
    """
    try:
        return build_problem({**settings, "data": data})
    except ValueError as error:
        raise ArchiveError(f"the problem that the model was trained for cannot be built here: {error}") from error


def _import(name: str) -> type[Problem]:
    module, _, cls = name.partition(":")
    known = f"known are {', '.join(BUILT_IN)}, and module:Class of your own"
    try:
        kind = getattr(importlib.import_module(module), cls)
    except Exception as error:  # whatever a module of the user's may raise
        where = "put the class into a module of its own" if module == "__main__" else "set PYTHONPATH to its folder"
        raise ValueError(f"no problem {name!r} ({error}); {known}: {where}") from error
    if not (isinstance(kind, type) and issubclass(kind, Problem)):
        raise ValueError(f"{name} is no subclass of miha.Problem; {known}")
    return kind


__all__ = ["BUILT_IN", "GapFill", "Mnist", "Problem", "archived_problem", "build_problem"]
