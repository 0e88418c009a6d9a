"""The pages under docs/: the site builds, and what the tutorial tells people to type works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_site_builds_without_a_warning_and_holds_every_command(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    commands = (tmp_path / "site" / "cli.html").read_text()
    assert all(f"Usage: miha {name}" in commands for name in ("fill", "assess", "optimize", "evaluate"))


@pytest.mark.slow
def test_the_tutorial_works_as_it_stands(tmp_path):
    blocks = COMMANDS.findall((ROOT / "docs" / "tutorial-fill.md").read_text())
    assert len(blocks) == 4
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for block in blocks:
        subprocess.run(["bash", "-e", "-c", block], cwd=tmp_path, env={**os.environ, "PATH": search}, check=True)
    assert len(list((tmp_path / "filled").glob("*_std.tif"))) == 8
    assert (tmp_path / "errors.png").exists()
    assert (tmp_path / "run" / "report.html").exists()
