"""What ``miha fill`` does, as a Prefect flow or without Prefect."""

from pathlib import Path

from miha.errors import ConfigError
from miha.events import Message, publish
from miha.gapfill.network_filler import open_filler
from miha.gapfill.options import FillOptions
from miha.gapfill.series import Method, Series, days_of, fill_series, read_span
from miha.rasters.stack import ReadOptions
from tasks.placing import placed


def fill_scenes(
    inputs: list[Path],
    out: Path,
    model: Path | None,
    data: Path | None,
    reading: ReadOptions,
    options: FillOptions,
    causal: bool,
    prefect: bool,
) -> None:
    """Fill scenes; arguments as of the flow :func:`flows.fill.fill`."""
    if data is None and model is None:
        publish(Message("Each scene is filled from itself alone. Other days of the place (--data) lower the error."))
    if not prefect:
        open_filler(model, data, reading, causal).fill_all(inputs, out, options)
        return
    from flows.server import choose_server, reach_server, start_server

    start_server()
    open_filler(model, data, reading, causal).plan(inputs, out, options)  # a mistake is reported before Prefect starts
    choose_server()
    from flows.fill import fill

    reach_server()
    fill(inputs, out, model, data, reading, options, causal)


def fill_history(
    dates: str,
    out: Path,
    model: Path | None,
    data: Path | None,
    reading: ReadOptions,
    options: FillOptions,
    causal: bool,
    prefect: bool,
    processes: int,
    method: Method = "base",
    dask: str | None = None,
    zarr: bool = False,
) -> list[str]:
    """Fill the days of a history, ``all`` or a span; returns those (ISO dates) that could not be filled."""
    if data is None:
        raise ConfigError("--dates fills the days of a history: give --data.")
    if model and method != "base":
        raise ConfigError(f"--method {method} fills without a model: leave out --run-dir and --model.")
    first, last = read_span(dates)
    series = Series(
        data=data,
        out=out,
        first=first,
        last=last,
        model=model,
        method=method,
        reading=reading,
        causal=causal,
        options=options,
        zarr=zarr,
    )
    if not prefect:
        return [day.isoformat() for day in fill_series(*placed(series, processes, dask))]
    from flows.server import choose_server, reach_server, start_server

    start_server()
    days_of(series)  # a mistake is reported before Prefect starts
    choose_server()
    from flows.fill import fill_series as flow

    reach_server()
    return list(flow(series, processes, dask))
