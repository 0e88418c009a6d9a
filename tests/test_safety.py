"""Nothing calls home: whole runs in processes that note each attempt of Python to reach another machine."""

import subprocess

import pytest

from tests.support.processes import BIN, environment

# Python imports sitecustomize in every process; an audit hook there cannot be taken off again.
GUARD = """
import ipaddress, os, sys

def _guard(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    try:
        outside = host is not None and not ipaddress.ip_address(host).is_loopback
    except ValueError:
        outside = host not in ("localhost", "")
    if outside:
        with open(os.environ["MIHA_TEST_CALLS"], "a") as file:
            file.write(f"{sys.argv} {event} {arguments[1:]} {host}\\n")
        raise ConnectionRefusedError(host)

sys.addaudithook(_guard)
"""
SMALL = [
    "problem.train_samples=6",
    "problem.valid_samples=4",
    "problem.trees=12",
    "problem.width=4",
    "schedule.cycles=1",
]


@pytest.fixture
def guarded(tmp_path):
    """An environment in which every Python process writes down, and is refused, each call to another machine."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD)
    (tmp_path / "calls").write_text("")
    env = environment(tmp_path / "home", MIHA_TEST_CALLS=str(tmp_path / "calls"))
    for name in ("PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK"):  # miha must see to this itself
        env.pop(name)
    return {**env, "PYTHONPATH": f"{tmp_path / 'guard'}:{env['PYTHONPATH']}"}, tmp_path / "calls"


@pytest.mark.parametrize("call", ["socket().connect(('192.0.2.1', 80))", "create_connection(('example.org', 80))"])
def test_the_guard_notes_a_call_to_another_machine(guarded, call):
    env, calls = guarded
    code = f"import socket; socket.{call}"
    assert subprocess.run([str(BIN / "python"), "-c", code], env=env, capture_output=True, check=False).returncode != 0
    assert calls.read_text()


@pytest.mark.slow
def test_a_full_run_under_prefect_reaches_for_no_other_machine(guarded, simulated, tmp_path):
    env, calls = guarded
    settings = [part for setting in SMALL for part in ("--set", setting)]
    run, scene = str(tmp_path / "run"), str(next((simulated / "gapped").glob("*.tif")))
    for arguments in (
        ["optimize", "--data", str(simulated), "--run-dir", run, *settings],
        ["fill", scene, "--prefect", "--data", str(simulated), "--run-dir", run, "--out", str(tmp_path / "filled")],
        ["evaluate", "--data", str(simulated), "--run-dir", run],
    ):
        result = subprocess.run([str(BIN / "miha"), *arguments], env=env, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    assert calls.read_text() == ""
