"""Commands to look at things: an archive, a run as a tree, scenes in a browser, the machine; and export."""

from pathlib import Path
from typing import Annotated

import typer

from flows.reading import Reading, reads_rasters


def show(archive: Annotated[Path, typer.Argument(help="a model archive")]) -> None:
    """Show what a model archive holds: where it comes from, hyperparameters, curve, inputs."""
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
    """Write a trained network to a file that is read without MIHA. Where miha.tune trained it, your functions run."""
    from miha.export import export as write

    write(archive, out, data, kind)
    print(f"{archive} → {out}")


def lineage(run: Annotated[Path, typer.Argument(help="folder of a run")]) -> None:
    """Show a run as a tree: its stages in their order, each cycle's candidates, their changes and fitness."""
    from miha.report.display import plain_console
    from miha.report.lineage import lineage_tree

    plain_console().print(lineage_tree(run))


def doctor(
    run_dir: Annotated[Path, typer.Option(help="folder in which runs are to be kept")] = Path("runs"),
) -> None:
    """Say what is installed, what this machine offers, what would be slow here and what to do about it.

    Ends with exit code 1 if something is broken.
    """
    from flows.doctor import doctor_table, examine
    from miha.report.display import plain_console

    checks = examine(run_dir)
    plain_console().print(doctor_table(checks))
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)


@reads_rasters
def view(
    folder: Annotated[Path, typer.Argument(help="folder of filled scenes, a data set, or a run")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on this machine; 0: a free one")] = 0,
    *,
    reading: Reading,
) -> None:
    """Look at scenes in a browser: a map, a slider over days, and layers. The page is seen on this machine alone."""
    from flows.view.server import Viewer

    with Viewer(folder, reading(None), port) as viewer:
        print(f"{len(viewer.catalogue.days)} scenes: open {viewer.address} in a browser. Ctrl-C ends this.", flush=True)
        try:
            viewer.serve_forever()
        except KeyboardInterrupt:
            print("Stopped.")
