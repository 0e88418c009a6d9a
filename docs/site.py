"""What MkDocs does beside rendering: include pages that live elsewhere, and the help of every command."""

import re
from pathlib import Path
from typing import Any

import typer

from flows.cli import app

ROOT = Path(__file__).parents[1]
COMMANDS = "<!-- commands -->"
INCLUDE = re.compile(r"<!-- include (\S+) -->")
MARK = re.compile(r"^ *<!-- (?:run by|not run: ).* -->\n", re.MULTILINE)  # above a block, see tests/test_docs.py
PAGES = {"../data/README.md": "data-sets.md", "../CONTRIBUTING.md": "contributing.md"}  # files → pages of the site


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with the text of each page."""
    markdown = INCLUDE.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8"), markdown)
    markdown = MARK.sub("", markdown)
    markdown = re.sub(r"\]\((?:\.\./)?docs/", "](", markdown)
    for file, page in PAGES.items():
        markdown = markdown.replace(f"]({file}", f"]({page}")
    return markdown.replace(COMMANDS, "\n\n".join(sections())) if COMMANDS in markdown else markdown


def sections() -> list[str]:
    """A heading and the help, for each command."""
    group = typer.main.get_command(app)
    found = []
    with group.make_context("miha", [], resilient_parsing=True) as parent:
        for name in group.list_commands(parent):
            command = group.get_command(parent, name)
            with command.make_context(name, [], parent=parent, resilient_parsing=True) as context:
                found.append(f"## miha {name}\n\n```text\n{context.get_help().strip()}\n```")
    return found
