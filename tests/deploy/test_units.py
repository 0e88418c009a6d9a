"""The systemd units, checked by systemd itself where it is installed."""

import re
import shutil
import subprocess

import pytest

from tests.support.processes import BIN, ROOT

UNITS = sorted((ROOT / "deploy").glob("*.service"))


def test_systemd_finds_no_fault_with_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (apt-get install systemd)")
    for unit in UNITS:
        text = unit.read_text().replace("%h/miha/.venv/bin", str(BIN)).replace("%h/miha", str(tmp_path))
        (tmp_path / unit.name).write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", *(tmp_path / unit.name for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_prefect_has_the_command_of_a_unit_with_its_options(unit):
    (command,) = re.findall(r"^ExecStart=\S+/prefect (.*)$", unit.read_text(), re.MULTILINE)
    group, action, *options = command.split()
    result = subprocess.run([str(BIN / "prefect"), group, action, "--help"], capture_output=True, text=True, check=True)
    assert all(option in result.stdout for option in options if option.startswith("--"))
