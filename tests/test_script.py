import subprocess
import sys

import pytest

from miha.script import refuse_unguarded

CALL = "from miha.script import refuse_unguarded"
REFUSED = [
    "refuse_unguarded('f')",
    "def run():\n    refuse_unguarded('f')\nfor _ in range(1):\n    run()",
    "if 1:\n  refuse_unguarded('f')",
]
ALLOWED = [
    "if __name__ == '__main__':\n    refuse_unguarded('f')",
    "def run():\n    refuse_unguarded('f')\nif '__main__' == __name__:\n    run()",
]


def run(tmp_path, code):
    (tmp_path / "script.py").write_text(f"{CALL}\n{code}")
    return subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", REFUSED)
def test_a_call_that_workers_would_make_again_is_refused_with_its_line(tmp_path, code):
    result = run(tmp_path, code)
    line = len(code.splitlines()) + 1
    assert f"script.py, line {line}: f trains in processes" in result.stderr
    assert "Call it under `if __name__ == '__main__':`." in result.stderr


@pytest.mark.parametrize("code", ALLOWED)
def test_a_call_under_a_guard_is_none(tmp_path, code):
    assert run(tmp_path, code).returncode == 0


def test_neither_is_one_from_elsewhere():
    refuse_unguarded("f")
