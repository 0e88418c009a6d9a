"""Commands that make data sets: simulated, published, or from what a user downloaded."""

from pathlib import Path
from typing import Annotated

import typer

from flows.reading import StrictOption
from flows.showing import shown
from miha.wording import plural


def simulate(
    out: Annotated[Path, typer.Argument(help="folder to write")],
    days: Annotated[int, typer.Option(help="days of history, at least 6")] = 30,
    height: Annotated[int, typer.Option(help="rows, pixels, at least 32")] = 64,
    width: Annotated[int, typer.Option(help="columns, pixels, at least 32")] = 64,
    seed: Annotated[int, typer.Option(help="seed of all random numbers")] = 0,
    nights: Annotated[bool, typer.Option(help="also the nights after these days, as a companion")] = False,
) -> None:
    """Write simulated temperatures with cloud gaps as a data set."""
    from miha.rasters.simulate import simulate as write

    write(out, days, height, width, seed, nights)
    print(f"simulated: {plural(days, 'day')} of {height}x{width} pixels, seed {seed} → {out}")


def fetch(
    name: Annotated[str, typer.Argument(help="madrid, stpetersburg, vladivostok or mnist")],
    out: Annotated[Path, typer.Option(help="folder for the raw files")],
) -> None:
    """Get a published data set. It comes from MIHA_DATA_DIR or the web; SHA-256 sums are checked."""
    from miha.datasets import fetch as bring

    with shown() as console:
        bring(name, out)
        console.print(f"{name} → {out}, all checksums right", markup=False)


def prepare(
    raw: Annotated[
        list[str],
        typer.Argument(
            metavar="DOWNLOADS...",
            help="folders, archives (.zip, .tar), files, addresses (https://, s3://), or a .txt with one a line",
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the data set")],
    product: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="what was downloaded: a name that `miha products` lists, or your own YAML file",
        ),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="layer of the product; default: its first")] = None,
    like: Annotated[Path | None, typer.Option(help="raster whose grid to take; default: the first scene")] = None,
    crs: Annotated[str | None, typer.Option(help="CRS of the grid, e.g. EPSG:32630")] = None,
    resolution: Annotated[float | None, typer.Option(min=0, help="side of a pixel, in units of the CRS")] = None,
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="W S E N", help="west, south, east and north of the grid, in units of the CRS"),
    ] = None,
    daily: Annotated[
        str | None,
        typer.Option(
            metavar="first|mean|best", help="what a pixel takes of several scenes of one day; default: the product's"
        ),
    ] = None,
    hours: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST/LAST", help="only scenes of these times of day (UTC), e.g. 09:00/13:00; default: all"
        ),
    ] = None,
    strict: StrictOption = False,
    workers: Annotated[int | None, typer.Option(min=1, help="threads; default: one a core")] = None,
) -> None:
    """Turn a download into a data set on one grid.

    One masked scene a day, history/YYYY-MM-DD.tif, and a page about them.

    Without --product: what `miha fetch` downloaded, into history/ static/ gapped/ truth/ published/<method>/.
    """
    if product is None:
        from miha.datasets import prepare as convert
        from miha.errors import ConfigError

        given = {"--layer": layer, "--like": like, "--crs": crs, "--resolution": resolution, "--bounds": bounds}
        given |= {"--daily": daily, "--hours": hours, "--workers": workers}
        if extra := [name for name, value in given.items() if value is not None]:
            raise ConfigError(f"{', '.join(extra)}: only with --product (`miha products` lists them).")
        if len(raw) > 1:
            raise ConfigError("give one folder that `miha fetch` wrote, or name what was downloaded by --product.")
        convert(Path(raw[0]), out)
        print(f"{raw[0]} → {out}: {sum(1 for _ in out.rglob('*.tif'))} GeoTIFFs")
        return
    from miha.products.grid import GridChoice
    from miha.products.hours import read_hours
    from miha.products.prepare import prepare as make
    from miha.products.product import read_daily, read_product

    chosen = read_product(product)
    with shown("Stopped. Nothing was written.") as console:
        choice = GridChoice(like, crs, resolution, bounds)
        way, times = read_daily(daily), read_hours(hours)
        record = make(
            raw, chosen, out, layer=layer, choice=choice, daily=way, hours=times, strict=strict, workers=workers
        )
        console.print(f"{record.summary()} → {out}", markup=False)
        page, scenes = out / "stack.html", out / "history"
        console.print(f"Look at {page}; then: miha fill {scenes}/*.tif --data {out} --out filled", markup=False)


def products(
    name: Annotated[
        str | None, typer.Argument(help="print the file of this one, to copy and change; default: list all")
    ] = None,
) -> None:
    """List the products that `miha prepare` knows. With a name: print its file."""
    from miha.errors import ConfigError
    from miha.products.product import read_product, shipped
    from miha.report.display import plain_console

    known = shipped()
    if name is None:
        for each in map(read_product, known):
            layers = "" if len(each.recipes) == 1 else f"\n  --layer {' | '.join(each.recipes)}"
            plain_console().print(f"{each.name}: {each.title}{layers}\n  {each.about.strip()}\n", markup=False)
        return
    if name not in known:
        raise ConfigError(f"unknown product {name}; known are {', '.join(known)}.")
    print(known[name], end="")
