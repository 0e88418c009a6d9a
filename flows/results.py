"""Commands that look at what a run left, or write it in another form."""

from pathlib import Path
from typing import Annotated

import typer


def show(archive: Annotated[Path, typer.Argument(help="a model archive")]) -> None:
    """Show what a model archive holds. Where it comes from, hyperparameters, curve, inputs."""
    from miha.report.display import plain_console
    from miha.report.tables import archive_table

    plain_console().print(archive_table(archive))


def export(
    archive: Annotated[Path, typer.Argument(help="a model archive, e.g. RUN/model/model_best.zip")],
    out: Annotated[Path, typer.Option(help="file to write")],
    kind: Annotated[
        str | None,
        typer.Option("--format", help="pt (state dict), pt2 (torch.export) or onnx; default: the suffix of --out"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="folder that the network is built from; default: the archive's run")
    ] = None,
) -> None:
    """Write a trained network to a file that can be read without MIHA.

    For a network of miha.tune this runs your own functions.
    """
    from miha.export import export as write

    write(archive, out, data, kind)
    print(f"{archive} → {out}")


def lineage(run: Annotated[Path, typer.Argument(help="folder of a run")]) -> None:
    """Show a run as a tree. Its stages in their order, each cycle's candidates, their changes and fitness."""
    from miha.report.display import plain_console
    from miha.report.lineage import lineage_tree

    plain_console().print(lineage_tree(run))


def report(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    full: Annotated[
        bool, typer.Option("--full", help="evaluate on every held-out gap, and compare with 300 trees; takes minutes")
    ] = False,
) -> None:
    """Write report.html of a finished run again."""
    from flows.showing import shown
    from miha.report.page import write_report

    with shown() as console:
        console.print(str(write_report(run, full)), markup=False)
