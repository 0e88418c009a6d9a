import os
import subprocess
import sys

import pytest

from miha.script import refuse_unguarded
from tests.support.processes import ROOT

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
    assert f"script.py, line {line}: f starts processes" in result.stderr
    assert "Call it under `if __name__ == '__main__':`." in result.stderr


@pytest.mark.parametrize("code", ALLOWED)
def test_a_call_under_a_guard_is_none(tmp_path, code):
    assert run(tmp_path, code).returncode == 0


def test_neither_is_one_from_elsewhere():
    refuse_unguarded("f")


def test_a_script_from_standard_input_is_refused_where_processes_would_have_to_read_it():
    code = f"{CALL}\nif __name__ == '__main__':\n    refuse_unguarded('f', 'Or do this.')"
    result = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False)
    assert "the script comes from standard input" in result.stderr
    assert result.stderr.strip().endswith("Save it to a file. Or do this.")


@pytest.mark.parametrize("name", ["script.py", "-"])
def test_no_pool_of_processes_is_started_by_such_a_script(tmp_path, name):
    code = "from miha.training.workers import working\nwith working(2):\n    print('started')"
    (tmp_path / "script.py").write_text(code)
    call = {"cwd": tmp_path, "input": code, "capture_output": True, "text": True, "timeout": 60}
    result = subprocess.run([sys.executable, name], **call, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("Traceback") == 1
