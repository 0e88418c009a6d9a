"""Problems by name: those that come with MIHA, and ``module:Class`` of one's own."""

import importlib
from pathlib import Path
from typing import Any

from miha.errors import ArchiveError
from miha.problems.problem import BUILT_IN, NAMES, Problem


def build_problem(settings: Any) -> Problem:
    """A problem from its settings; ``name`` is that of a built-in one, or ``module:Class``, which is imported.

    Raises:
        ValueError: no such problem, or its settings are wrong (pydantic.ValidationError).
    """
    if isinstance(settings, Problem):
        return settings
    if not isinstance(settings, dict):
        raise ValueError(f"must be a section with a name, but is {settings!r}")
    return problem_class(str(settings.get("name", ""))).model_validate(settings)


def problem_class(name: str) -> type[Problem]:
    """The class of a name.

    Raises:
        ValueError: no such problem, or its module cannot be imported.
    """
    module, _, attribute = BUILT_IN.get(name, name).partition(":")
    known = f"known are {NAMES}"
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if name in BUILT_IN:
            raise ValueError(f"problem {name!r} needs {error.name}: pip install 'miha[rasters]'") from error
        raise ValueError(_not_importable(name, module, error, known)) from error
    except Exception as error:  # whatever a module of the user's may raise
        raise ValueError(_not_importable(name, module, error, known)) from error
    if not (isinstance(kind, type) and issubclass(kind, Problem)):
        raise ValueError(f"{name} is no subclass of miha.Problem; {known}")
    return kind


def _not_importable(name: str, module: str, error: Exception, known: str) -> str:
    where = "put the class into a module of its own" if module == "__main__" else "set PYTHONPATH to its folder"
    return f"no problem {name!r} ({error}); {known}: {where}"


def archived_problem(settings: dict[str, Any], data: Path = Path()) -> Problem:
    """The problem that an archive is of, from the settings in its manifest.

    Raises:
        ArchiveError: it cannot be built here.
    """
    try:
        return build_problem({**settings, "data": data})
    except ValueError as error:
        raise ArchiveError(f"the problem that the model was trained for cannot be built here: {error}") from error
