"""The tasks that fill one scene, or a block of the days of a series."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from miha.gapfill.dayfiller import Day
from miha.gapfill.filler import Filler
from miha.gapfill.network_filler import open_filler
from miha.gapfill.options import FillOptions
from miha.gapfill.series import Series, fill_days
from miha.rasters.stack import ReadOptions


@lru_cache(maxsize=2)
def load_filler(model: Path | None, data: Path | None, reading: ReadOptions, causal: bool, /) -> Filler:
    """What fills: tasks pass paths, and a process loads a model once.

    Every argument is given by its place: the cache takes other ways to say the same for another filler.
    """
    return open_filler(model, data, reading, causal)


@task(task_run_name="fill {source.name}", cache_policy=NO_CACHE)
def fill_scene(
    source: Path,
    target: Path,
    model: Path | None,
    data: Path | None,
    reading: ReadOptions,
    causal: bool,
    options: FillOptions,
) -> Path:
    """Fill the gaps of one scene; returns the file written."""
    return load_filler(model, data, reading, causal).fill(source, target, options)


@task(name="fill days", cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def fill_block(series: Series, days: Sequence[Day]) -> dict[str, str]:
    """Fill days in the pool of processes; those that an earlier try filled are passed over.

    Returns:
        Days (ISO dates) that could not be filled, and why.
    """
    return {day.isoformat(): why for day, why in fill_days(series, days, counting=False).items()}
