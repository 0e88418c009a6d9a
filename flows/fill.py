"""The flow that fills the gaps of scenes with a trained model, or with the base alone."""

from pathlib import Path

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from miha.rasters.stack import ReadOptions
from tasks.filling import fill_scene, load_filler


@flow(name="fill", flow_run_name="fill into {out.name}", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def fill(
    inputs: list[Path],
    out: Path,
    model: Path | None = None,
    data: Path | None = None,
    reading: ReadOptions = ReadOptions(),
    everywhere: bool = False,
    max_std: float | None = None,
) -> list[Path]:
    """Fill the gaps of each scene from history, static layers and that scene alone; returns the files written.

    Args:
        inputs: the scenes, GeoTIFF.
        out: folder for the filled scenes, each under its input's name.
        model: a model archive; none: the base fills, which needs no training.
        data: folder of the data set: history/ static/; none: each scene is filled from itself.
        reading: how pixels become values, where there is no model to say it.
        everywhere: also fill pixels that neither the scene nor any other day shows.
        max_std: standard deviation above which a pixel stays empty, in the data's unit.
    """
    load_filler.cache_clear()  # an archive may have been replaced since the last flow of this process
    plan = load_filler(model, data, reading).plan(inputs, out)  # a bad scene is told before the first is filled
    futures = [
        fill_scene.submit(source, target, model, data, reading, everywhere, max_std) for source, target in plan.items()
    ]
    return [future.result() for future in futures]
