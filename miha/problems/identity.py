"""What functions of the user's own do, as a value: a run is another one once that has changed."""

import functools
import re
import sysconfig
import types
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor, nn

from miha.problems.dataset import digest

MOST = 1000  # entries of a list or dictionary that are looked at
_INSTALLED = ("<frozen", *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def identity(value: Any) -> Any:
    """A value of JSON that changes when a function, class or object does, or what they call of the user's own.

    Code is compared as compiled, so that comments count for nothing; what is installed (PyTorch, …) goes by its name.
    Globals that code names are looked into, too. Another version of Python compiles to other code.
    """
    return _Identity().of(value)


class _Identity:
    def __init__(self) -> None:
        self.seen: set[int] = set()  # functions that call each other end here

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return repr(value)
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, tuple | list):
            return [len(value), *(self.of(part) for part in value[:MOST])]
        if isinstance(value, set | frozenset):
            return sorted(str(self.of(part)) for part in value)
        if isinstance(value, dict):
            return [len(value), *([str(key), self.of(part)] for key, part in islice(value.items(), MOST))]
        if isinstance(value, Tensor | np.ndarray):
            return digest(value)
        if isinstance(value, types.ModuleType):
            return value.__name__
        if id(value) in self.seen:
            return "seen"
        self.seen.add(id(value))
        return self._object(value)

    def _object(self, value: Any) -> Any:
        if isinstance(value, types.MethodType):
            return [self.of(value.__func__), self.of(value.__self__)]
        if isinstance(value, functools.partial):
            return [self.of(value.func), self.of(value.args), self.of(value.keywords)]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, nn.Module):
            return [self._class(type(value)), repr(value), digest(dict(value.state_dict())), self.of(_plain(value))]
        if hasattr(value, "__code__") or not hasattr(value, "__dict__"):
            return _ADDRESS.sub("", repr(value))
        return [self._class(type(value)), self.of(vars(value))]

    def _function(self, function: types.FunctionType) -> Any:
        name = f"{function.__module__}.{function.__qualname__}"
        if function.__code__.co_filename.startswith(_INSTALLED) or function.__module__.partition(".")[0] == "miha":
            return name
        cells = [_contents(cell) for cell in function.__closure__ or ()]
        named = {key: function.__globals__[key] for key in _names(function.__code__) if key in function.__globals__}
        rest = [self.of(part) for part in (cells, named, function.__defaults__, function.__kwdefaults__)]
        return [function.__qualname__, self._code(function.__code__), *rest]

    def _code(self, code: types.CodeType) -> Any:
        constants = [self._code(one) if isinstance(one, types.CodeType) else self.of(one) for one in code.co_consts]
        return [code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]

    def _class(self, kind: type) -> Any:
        name = f"{kind.__module__}.{kind.__qualname__}"
        own = {key: part for key, part in vars(kind).items() if isinstance(part, types.FunctionType)}
        installed = all(part.__code__.co_filename.startswith(_INSTALLED) for part in own.values())
        if installed or kind.__module__.partition(".")[0] == "miha":
            return name
        return [kind.__qualname__, [self.of(base) for base in kind.__bases__], self.of(own)]


def _names(code: types.CodeType) -> list[str]:
    """Names that a function's code, and that of functions inside it, looks up among its globals."""
    inner = [name for one in code.co_consts if isinstance(one, types.CodeType) for name in _names(one)]
    return sorted({*code.co_names, *inner})


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # of a name that has no value yet


def _plain(module: nn.Module) -> dict[str, Any]:
    """Attributes of a module that are numbers and words, e.g. the reduction of a loss."""
    return {key: one for key, one in vars(module).items() if isinstance(one, bool | int | float | str)}
