"""Flows that fill the gaps of scenes, or all days of a history, with a trained model or with the base alone."""

from collections.abc import Sequence
from pathlib import Path

from prefect import Task, flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.view.drawing import maps_of
from miha.events import Counted, publish
from miha.gapfill.dayfiller import Day
from miha.gapfill.options import FillOptions
from miha.gapfill.series import Series, announce, assemble, finish, prepare, start
from miha.locking import held
from miha.rasters.stack import ReadOptions
from tasks.artifacts import Progress, show_figure
from tasks.filling import fill_block, fill_scene, load_filler
from tasks.placing import placed


@flow(name="fill", flow_run_name="fill into {out.name}", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def fill(
    inputs: list[Path],
    out: Path,
    model: Path | None = None,
    data: Path | None = None,
    reading: ReadOptions = ReadOptions(),
    options: FillOptions = FillOptions(),
    causal: bool = False,
) -> list[Path]:
    """Fill the gaps of each scene from history, static layers and that scene alone; returns the files written.

    Args:
        inputs: the scenes, GeoTIFF.
        out: folder for the filled scenes, each under its input's name.
        model: a model archive; none: the base fills, which needs no training.
        data: folder of the data set: history/ static/ companions/; none: each scene is filled from itself.
        reading: how pixels become values, where there is no model to say it.
        options: which gaps are filled.
        causal: only days before a scene's own fill it.
    """
    load_filler.cache_clear()  # an archive may have been replaced since the last flow of this process
    filler = load_filler(model, data, reading, causal)
    plan = filler.plan(inputs, out, options)  # checks all scenes before the first is filled
    futures = [
        fill_scene.submit(source, target, model, data, reading, causal, options) for source, target in plan.items()
    ]
    progress, written = Progress("scenes", len(futures)), list[Path]()
    for future in futures:
        written.append(future.result())
        progress.advance()
    show_figure(maps_of(written[-1], filler.reading), "last-scene", str(written[-1]))
    return written


BLOCK = 8  # days of one task


@flow(name="fill-series", flow_run_name="fill {series.data.name} into {series.out.name}")
def fill_series(series: Series, processes: int, dask: str | None = None) -> dict[str, str]:
    """Fill all days of a history that are not done yet, by blocks, each tried again if it fails.

    Args:
        series: what fills which days, and where to.
        processes: that fill side by side.
        dask: scheduler of a Dask cluster that fills in their place, tcp://host:8786.

    Returns:
        Days (ISO dates) that could not be filled, and why.
    """
    series, pool = placed(series, processes, dask)
    with held(series.out, "choose another folder for the filled days."):
        days = start(series)
        announce(series, days)
        left = [day for day in days if not day.done(series.options)]
        with pool:
            prepare(series, days)
            blocks = [left[first : first + BLOCK] for first in range(0, len(left), BLOCK)]
            futures = [_named(block).submit(series, block) for block in blocks]
            failed: dict[str, str] = {}
            done = len(days) - len(left)
            progress = Progress("days", len(days), done)
            for block, future in zip(blocks, futures, strict=True):
                failed |= future.result()
                done += len(block)
                progress.advance(len(block))
                publish(Counted("days", done, len(days), f"{block[-1].when}"))
            assemble(series)
            written = [day.target for day in left if day.target.exists()]
            if written:
                show_figure(maps_of(written[-1], series.filler().reading), "last-scene", str(written[-1]))
        finish(series)
        return failed


def _named(block: Sequence[Day]) -> Task[[Series, Sequence[Day]], dict[str, str]]:
    """The task under the name of its days."""
    return fill_block.with_options(task_run_name=f"fill {block[0].when} to {block[-1].when}")
