"""The commands that fill gaps, and that tell what error to expect of it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.reading import Reading, reads_rasters
from flows.showing import shown
from miha.threads import usable_cores
from miha.wording import plural


@reads_rasters
def fill(
    inputs: Annotated[list[Path] | None, typer.Argument(help="scenes with gaps, GeoTIFF; none with --dates")] = None,
    *,
    out: Annotated[
        Path, typer.Option(help="folder for the filled scenes, each under its input's name, with maps beside it")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="folder of scenes: history/ static/ companions/; without it each scene is filled from itself alone"
        ),
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="folder of a run: its best model fills")] = None,
    model: Annotated[Path | None, typer.Option(help="model archive that fills, in place of --run-dir")] = None,
    everywhere: Annotated[
        bool, typer.Option(help="also fill pixels that no day shows (sea, or outside the cut-out)")
    ] = False,
    max_std: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="leave a pixel empty if its standard deviation is greater, in the data's unit; default: what the "
            "model's run says (problem.max_std), else no limit",
        ),
    ] = None,
    dates: Annotated[
        str | None,
        typer.Option(
            metavar="all|DAY|FIRST/LAST", help="fill days of the history instead of scenes, e.g. 2021-05-01/2021-05-31"
        ),
    ] = None,
    method: Annotated[
        Literal["base", "eof"],
        typer.Option(
            help="what fills days without a model; eof: patterns of the whole history, far faster, less exact"
        ),
    ] = "base",
    area: Annotated[
        Path | None,
        typer.Option(help="fill only inside: a raster (0 or nodata is outside), or GeoJSON of polygons; on any grid"),
    ] = None,
    stac: Annotated[
        bool, typer.Option("--stac", help="also write STAC items, and a collection of the days (--dates)")
    ] = False,
    zarr: Annotated[bool, typer.Option("--zarr", help="also write one Zarr cube of all days (--dates)")] = False,
    causal: Annotated[bool, typer.Option("--causal", help="fill each day from earlier days only")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes that fill days (--dates); default: one a core")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", help="fill days (--dates) on the Dask cluster of this scheduler"),
    ] = None,
    reading: Reading,
    prefect: Annotated[
        bool, typer.Option("--prefect/--no-prefect", help="run as a Prefect flow, or without Prefect")
    ] = False,
) -> None:
    """Fill the gaps of scenes, or of all days of a history.

    Without a model nothing is trained: about two seconds for 10,000 pixels.

    Beside each scene: <name>_std.tif, the standard deviation of what was filled, and <name>_source.tif (0 observed, 1
    filled, 2 left as it was).
    """
    from flows.filling import fill_history, fill_scenes
    from miha.errors import ConfigError
    from miha.gapfill.options import FillOptions
    from miha.records.record import model_path

    if run_dir and model:
        raise ConfigError("give either --run-dir or --model.")
    if bool(inputs) == bool(dates):
        raise ConfigError("give scenes to fill, or --dates to fill the days of a history, and not both.")
    if inputs and method != "base":
        raise ConfigError(f"--method {method} fills the days of a history: give --dates instead of scenes.")
    if inputs and dask:
        raise ConfigError("--dask spreads the days of a history over a cluster: give --dates instead of scenes.")
    if inputs and zarr:
        raise ConfigError("--zarr writes a cube of the days of a history: give --dates instead of scenes.")
    if workers and dask:
        raise ConfigError("give either --workers, processes of this machine, or --dask.")
    archive = model_path(run_dir, "best") if run_dir else model
    how = reading(archive)
    which = FillOptions(everywhere=everywhere, max_std=max_std, area=area, stac=stac)
    with shown("Stopped. With --dates the same command continues where it was.") as console:
        if inputs:
            fill_scenes(inputs, out, archive, data, how, which, causal, prefect)
        elif dates:
            processes = workers or usable_cores()
            failed = fill_history(dates, out, archive, data, how, which, causal, prefect, processes, method, dask, zarr)
            if failed:
                console.print(
                    f"{plural(len(failed), 'day')} could not be filled, for the reasons above: {', '.join(failed)}"
                )
                raise typer.Exit(1)


@reads_rasters
def assess(
    data: Annotated[Path, typer.Argument(help="folder of scenes: history/ static/ companions/")],
    gaps: Annotated[
        int | None,
        typer.Option(min=4, help="gaps to paste on clear days, of 5 to 95 % of the scene; default: 60, of windows 12"),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="folder of a run to compare with, on days that it was not trained on")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG file for errors by size of the gap")] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file with a row for each gap")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one a core")] = None,
    *,
    reading: Reading,
) -> None:
    """Estimate what error to expect on your own data.

    Gaps are hidden in the days of a data set, and filled without training.

    Each day is left out of what fills it. About ten seconds a gap and core for 10,000 pixels, most of it for 300 trees.

    Of a stack that is too large for memory each gap is in a window of 256 × 256 pixels: about a minute a gap and core.
    """
    from miha.files import replacing, write_text
    from miha.gapfill.assess import assess as assess_data
    from miha.records.record import model_path
    from miha.report.tables import errors_table

    model = model_path(run_dir, "best") if run_dir else None
    options = reading(model)
    with shown() as console:
        found = assess_data(data, gaps, workers or usable_cores(), model, options)
        title = f"mean absolute error{f', {found.unit}' if found.unit else ''}; {data}; gap in percent of {found.place}"
        console.print(errors_table(found.table(), title))
        held = ", ".join(f"{share} %: {100 * inside:.0f} %" for share, inside in found.coverage().items())
        if found.side:
            console.print(f"The stack is too large for memory: errors are of {found.place}, not of whole scenes")
        console.print(f"Share of hidden values inside the base's intervals of {held}")
    if picture:
        with replacing(picture) as temporary:
            found.picture().savefig(temporary, format="png", dpi=110)
    if csv:
        write_text(csv, found.gaps.to_csv(index=False, lineterminator="\n"))
