"""Scripts that start processes, which import the script again: calls must stand under a guard."""

import ast
import multiprocessing
import sys
from pathlib import Path

from miha.errors import RunError

_INPUT = "<stdin>"  # what Python calls the file of such a script
_ADVICE = "Call it under `if __name__ == '__main__':`."


def refuse_import(function: str) -> None:
    """Refuse a call by a worker that imports the user's script.

    Raises:
        RunError: this process is such a worker.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RunError(f"{function} is called while a worker imports the script. {_ADVICE}")


def refuse_unguarded(function: str, remedy: str = "") -> None:
    """Refuse a call that every worker would make again when it imports the script, or a script that it cannot import.

    Args:
        function: what is called.
        remedy: another one than the guard, a sentence.

    Raises:
        RunError: the script calls at its top level, without a look at ``__name__``; or it comes from standard input.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script == _INPUT:
        raise RunError(
            f"the script comes from standard input, where processes that {function} starts cannot read it. Save it to "
            f"a file.{remedy and f' {remedy}'}"
        )
    frame = sys._getframe()
    while script and frame is not None:
        if (frame.f_code.co_name, frame.f_code.co_filename) == ("<module>", script):
            if not _guarded(Path(script), frame.f_lineno):
                raise RunError(
                    f"{script}, line {frame.f_lineno}: {function} starts processes, which import the script and would "
                    f"call it again. {_ADVICE}{remedy and f' {remedy}'}"
                )
            return
        frame = frame.f_back  # type: ignore[assignment]


def _guarded(script: Path, line: int) -> bool:
    """Whether the statement of a line stands under an ``if`` that asks for ``__name__``."""
    try:
        statements = ast.parse(script.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return True  # no Python to look at
    statement = next((one for one in statements if one.lineno <= line <= (one.end_lineno or one.lineno)), None)
    if statement is None:
        return True
    asked = ast.walk(statement.test) if isinstance(statement, ast.If) else ()
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in asked)
