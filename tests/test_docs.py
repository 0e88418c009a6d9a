"""The pages: the site builds, and every block of code is run, here or by a test that it names, or says why it is not.

An HTML comment above a block says so: ``<!-- run by tests/….py -->`` or ``<!-- not run: the reason -->``. A block without
one is run here, with those of its page one after the other in one folder, on a tiny stack of satellite scenes.
"""

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from miha.config_files import read_config
from tests.support.downloads import mod11a1
from tests.support.processes import ROOT, environment

BLOCK = re.compile(r"(?:^ *<!-- ([^\n]*) -->\n)?^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PAGES = [Path("README.md"), Path("CONTRIBUTING.md"), Path("data/README.md")]
PAGES += sorted(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md"))
SCENE = "DATA/history/2020-07-05.tif"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the comment above it, and its code."""

    language: str
    comment: str
    code: str


@cache
def blocks_of(page: Path) -> list[Block]:
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [Block(language, comment, textwrap.dedent(code)) for comment, language, code in found]


def to_run(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language != "text" and not block.comment]


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
    pages = [path.read_text() for path in (tmp_path / "site").glob("*.html")]
    assert not any("not run: " in page or "run by tests" in page for page in pages), "comments are for the tests"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_is_run_or_says_why_not(page):
    for block in blocks_of(page):
        assert block.language in ("bash", "python", "yaml", "text"), block
        if block.comment.startswith("run by "):
            test = ROOT / block.comment.removeprefix("run by ")
            assert page.name in test.read_text(encoding="utf-8"), f"{test} does not read {page}"
        elif block.comment:
            assert re.fullmatch(r"not run: .{10,}", block.comment), block
            for path in re.findall(r"(?:docs|tests)/[\w/.-]+", block.comment):
                assert (ROOT / path).exists(), f"{page}: no {path}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if to_run(page)], ids=str)
def test_the_blocks_of_a_page_run_one_after_the_other(page, tmp_path):
    env = environment(tmp_path)
    mod11a1(tmp_path / "DOWNLOADS", days=10, size=32)
    prepare = "miha prepare DOWNLOADS --product mod11a1 --out DATA; mkdir -p data/scenes; cp -r DATA data/scenes/madrid"
    subprocess.run(["bash", "-e", "-c", prepare], cwd=tmp_path, env=env, check=True)
    for block in to_run(page):
        code = block.code.replace("SCENE.tif …", SCENE).replace("today.tif", SCENE)
        if block.language == "yaml":
            (tmp_path / "settings.yaml").write_text(code)
            read_config([str(tmp_path / "settings.yaml")], ["problem.data=DATA"], {})
        elif block.language == "python" and (name := re.match(r"# (\w+\.py)\n", code)):
            (tmp_path / name[1]).write_text(code)
        else:
            program = ["bash", "-e", "-c"] if block.language == "bash" else [sys.executable, "-c"]
            result = subprocess.run(
                [*program, code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, f"{code}\n{result.stdout}\n{result.stderr}"
    if page.stem == "tutorial-fill":
        assert len(list((tmp_path / "filled").glob("*_std.tif"))) == 8
        assert (tmp_path / "errors.png").exists()
        assert (tmp_path / "run" / "report.html").exists()
