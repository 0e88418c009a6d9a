"""Tasks on a folder where scenes arrive: what is to be filled, and what to do with a scene that cannot be."""

import shutil
import time
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from miha.files import write_text
from miha.rasters.fill import sidecar_of
from miha.rasters.stack import list_rasters


@task(task_run_name="scenes to fill", cache_policy=NO_CACHE)
def find_unfilled(incoming: Path, out: Path, settle: float) -> list[Path]:
    """Scenes that have no filled counterpart in ``out`` and were not written to for ``settle`` seconds."""
    waiting = [path for path in list_rasters(incoming, at_least=0) if not _filled(out / path.name)]
    ready = [path for path in waiting if time.time() - path.stat().st_mtime >= settle]
    get_run_logger().info("%d scenes to fill in %s; %d still arrive", len(ready), incoming, len(waiting) - len(ready))
    return ready


def _filled(target: Path) -> bool:
    return target.exists() and sidecar_of(target).exists()


@task(task_run_name="set aside {scene.name}", cache_policy=NO_CACHE)
def set_aside(scene: Path, rejected: Path, reason: str) -> Path:
    """Move a scene out of the way, with the reason beside it; returns where it went."""
    rejected.mkdir(parents=True, exist_ok=True)
    write_text(rejected / f"{scene.name}.reason.txt", reason + "\n")
    get_run_logger().warning("%s is set aside: %s", scene, reason)
    return Path(shutil.move(scene, rejected / scene.name))
