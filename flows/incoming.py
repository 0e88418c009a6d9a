"""The flow that runs every hour: fill the scenes that arrived since, each once, whatever becomes of the others."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.events import emit_event
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel

from flows.view.drawing import maps_of
from miha.errors import ConfigError, DataError
from miha.files import remove_unfinished
from miha.gapfill.options import FillOptions
from miha.gapfill.release import released_model
from miha.locking import held
from miha.rasters.options import ReadOptions
from miha.rasters.scene import list_rasters, list_scenes
from miha.rasters.writing import target_of
from tasks.artifacts import Progress, show_figure
from tasks.filling import fill_scene, load_filler
from tasks.incoming import find_unfilled, set_aside

HOW = (ReadOptions(), False)  # the model says how scenes are read; days on both sides fill them
FILLED = "miha.scenes-filled"  # the event that deploy/automations.yaml waits for


class Filled(BaseModel):
    """Outcome of one look into the folder: the files written, and the scenes set aside with the reasons."""

    filled: list[Path]
    set_aside: dict[Path, str]


@flow(name="fill-incoming", flow_run_name="fill {dataset}", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def fill_incoming(
    dataset: str,
    data: Path,
    incoming: Path,
    out: Path,
    models: Path = Path("models"),
    settle: float = 60.0,
    options: FillOptions = FillOptions(),
) -> Filled:
    """Fill every scene in a folder that is not filled yet, with the released model.

    A scene that cannot be filled is moved to ``incoming/rejected``, with the reason in a file beside it. One whose
    quality file has not arrived waits for it.

    Args:
        dataset: name of the data set, and of its folder in ``models``.
        data: folder of the data set: history/ static/ companions/.
        incoming: folder where scenes arrive, GeoTIFF; they stay there.
        out: folder for the filled scenes, each under its input's name.
        models: folder of the released models.
        settle: seconds since a scene was last written to; a younger one may still be arriving.
        options: which gaps are filled, and what is written beside a scene.
    """
    rejected_folder = incoming / "rejected"
    if out.resolve() in (incoming.resolve(), rejected_folder.resolve()):
        raise ConfigError(
            f"out is {out}, where scenes arrive or are set aside. Choose another folder for filled scenes."
        )
    with held(out, "choose another folder for the filled scenes."):
        remove_unfinished(out)
        if not incoming.exists():
            get_run_logger().warning("%s did not exist and was made", incoming.absolute())
            incoming.mkdir(parents=True)
        if not list_rasters(incoming, at_least=0):
            return Filled(filled=[], set_aside={})
        model = released_model(models / dataset)
        load_filler.cache_clear()  # the history may have grown since the last flow of this process
        reading = load_filler(model, data, *HOW).reading  # a bad data set fails here, and no scene is set aside for it
        options.check(list_scenes(data / "history", reading)[:1], reading)  # so does a bad area
        scenes, rejected = find_unfilled(incoming, out, settle, reading)
        for scene, reason in rejected.items():
            set_aside(scene, rejected_folder, reason)
        if not scenes:
            return Filled(filled=[], set_aside=rejected)
        targets = {scene: target_of(scene, out) for scene in scenes}
        futures = {
            scene: fill_scene.submit(scene, target, model, data, *HOW, options) for scene, target in targets.items()
        }
        progress, outcomes = Progress("scenes", len(futures)), {}
        for scene, future in futures.items():
            outcomes[scene] = future.result(raise_on_failure=False)
            progress.advance()
        broken = {scene: str(error) for scene, error in outcomes.items() if isinstance(error, DataError)}
        for scene, reason in broken.items():
            set_aside(scene, rejected_folder, reason)
    filled = [path for path in outcomes.values() if isinstance(path, Path)]
    if filled:
        show_figure(maps_of(filled[-1], reading), "last-scene", str(filled[-1]))
        resource = {"prefect.resource.id": f"miha.data-set.{dataset}", "prefect.resource.name": dataset}
        emit_event(FILLED, resource, payload={"scenes": [path.name for path in filled]})
    for scene in outcomes.keys() - broken.keys():  # what is no fault of the scene fails the flow, after all others
        futures[scene].result()
    return Filled(filled=filled, set_aside=rejected | broken)
