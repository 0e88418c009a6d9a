"""Tasks on a folder where scenes arrive: what is to be filled, and what to do with a scene that cannot be."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from miha.errors import DataError
from miha.files import write_text
from miha.rasters.stack import ReadOptions, list_rasters
from miha.rasters.writing import sidecars_of, target_of


@task(task_run_name="scenes to fill", cache_policy=NO_CACHE)
def find_unfilled(incoming: Path, out: Path, settle: float, reading: ReadOptions) -> tuple[list[Path], dict[Path, str]]:
    """Scenes with no filled counterpart in ``out``, and those that would overwrite another's, with the reason.

    What was written to less than ``settle`` seconds ago is left for the next time; so is a scene whose quality file is
    not there yet.
    """
    logger = get_run_logger()
    beside = _quality_files(incoming, reading)
    scenes = {path: layer for path, layer in beside.items() if layer}
    for path in beside.keys() - scenes.keys():
        logger.warning("%s waits for a quality file that fits it", path)
    ready, clashes, owners = list[Path](), dict[Path, str](), dict[Path, Path]()
    for scene in sorted(scenes, key=lambda path: (not _filled(target_of(path, out)), path.name)):
        target = target_of(scene, out)
        files = (target, *sidecars_of(target))
        if others := {owners[file].name for file in files if file in owners}:
            clashes[scene] = f"it would be filled over {', '.join(others)}. Give it another name."
            continue
        owners |= dict.fromkeys(files, scene)
        if not _filled(target) and not any(_arriving(file, settle) for file in (scene, scenes[scene])):
            ready.append(scene)
    logger.info("%d scenes to fill in %s", len(ready), incoming.absolute())
    return ready, clashes


def _quality_files(incoming: Path, reading: ReadOptions) -> dict[Path, Path | None]:
    """Scene → its quality file, or itself where it needs none.

    None for one before its quality file has arrived, and for a quality file before its scene has.
    """
    rasters = [path for path in list_rasters(incoming, at_least=0) if path.is_file()]  # no dangling links
    layers: dict[Path, Path | None] = {}
    if (rule := reading.clear) and rule.file:
        for path in rasters:
            with suppress(DataError):  # which is told when the scene is filled
                layers[path] = rule.file_of(path, reading.date_pattern)
    return {path: layers.get(path, path) for path in rasters if path not in layers.values()}


def _filled(target: Path) -> bool:
    return target.exists() and all(map_.exists() for map_ in sidecars_of(target))


def _arriving(scene: Path, settle: float) -> bool:
    return 0 <= time.time() - scene.stat().st_mtime < settle


@task(task_run_name="set aside {scene.name}", cache_policy=NO_CACHE)
def set_aside(scene: Path, rejected: Path, reason: str) -> Path | None:
    """Move a scene out of the way, with the reason beside it; returns where it went, None if it is gone already."""
    logger = get_run_logger()
    rejected.mkdir(parents=True, exist_ok=True)
    target, number = rejected / scene.name, 0
    while target.exists():
        number += 1
        target = rejected / f"{scene.stem}.{number}{scene.suffix}"
    try:
        shutil.copyfile(scene, target)  # of a link the content, since the link may lead nowhere from there
        scene.unlink()
    except FileNotFoundError:
        logger.warning("%s is gone; it could not be filled: %s", scene, reason)
        return None
    write_text(target.with_name(f"{target.name}.reason.txt"), reason + "\n")
    logger.warning("%s is set aside: %s", scene, reason)
    return target
