"""Puts the help of every command into the page cli.md when the site is built."""

from typing import Any

import typer

from flows.cli import app

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with the text of each page."""
    return markdown.replace(MARK, "\n\n".join(sections())) if MARK in markdown else markdown


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
