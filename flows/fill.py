"""The flow that fills the gaps of scenes with a trained model."""

from pathlib import Path

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.filling import fill_scene, load_filler


@flow(name="fill", flow_run_name="fill {data.name}", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def fill(inputs: list[Path], model: Path, data: Path, out: Path) -> list[Path]:
    """Fill the gaps of each scene from history, static layers and that scene alone; returns the files written."""
    load_filler.cache_clear()  # an archive may have been replaced since the last flow of this process
    plan = load_filler(model, data).plan(inputs, out)  # a bad scene is told before the first is filled
    futures = [fill_scene.submit(source, target, model, data) for source, target in plan.items()]
    return [future.result() for future in futures]
