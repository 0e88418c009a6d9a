"""Commands to look at things: scenes in a browser, and the machine."""

from pathlib import Path
from typing import Annotated

import typer

from flows.reading import Reading, reads_rasters
from miha.wording import plural


def doctor(
    run_dir: Annotated[Path, typer.Option(help="folder in which runs are to be kept")] = Path("runs"),
) -> None:
    """Check this machine and the installation.

    What is installed, what would be slow here, and what to do about it.

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
    """Look at scenes in a browser. A map, a slider over days, and layers. Only this machine can open the page."""
    from flows.view.server import Viewer

    with Viewer(folder, reading(None), port) as viewer:
        print(
            f"{plural(len(viewer.catalogue.days), 'scene')}: open {viewer.address} in a browser. Ctrl-C ends this.",
            flush=True,
        )
        try:
            viewer.serve_forever()
        except KeyboardInterrupt:
            print("Stopped.")
