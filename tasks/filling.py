"""The task that fills one scene."""

from functools import lru_cache
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from miha.gapfill.filler import open_filler
from miha.rasters.stack import ReadOptions

load_filler = lru_cache(maxsize=2)(open_filler)  # tasks pass paths; a process loads a model once


@task(task_run_name="fill {source.name}", cache_policy=NO_CACHE)
def fill_scene(
    source: Path,
    target: Path,
    model: Path | None,
    data: Path | None,
    reading: ReadOptions = ReadOptions(),
    everywhere: bool = False,
    max_std: float | None = None,
) -> Path:
    """Fill the gaps of one scene; returns the file written."""
    return load_filler(model, data, reading).fill(source, target, everywhere, max_std)
