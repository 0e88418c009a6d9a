"""Tasks of scheduled retraining: preparing what changed, and releasing what is better."""

from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from miha.datasets import prepare
from miha.files import digest_files, write_text
from miha.gapfill.release import Verdict, release_if_better
from miha.records.record import model_path


@task(task_run_name="prepare {data.name}", cache_policy=NO_CACHE)
def prepare_if_changed(raw: Path, data: Path, stamp: Path) -> bool:
    """Turn raw files into scenes, unless that was done for the same files; returns whether it was done now.

    Args:
        raw: folder that ``miha fetch`` wrote.
        data: folder of the scenes.
        stamp: file that remembers the digest of what was prepared last.
    """
    digest = digest_files([path for path in raw.rglob("*") if path.is_file()], raw)
    if data.is_dir() and stamp.exists() and stamp.read_text().strip() == digest:
        get_run_logger().info("%s is as it was; nothing to prepare", raw)
        return False
    prepare(raw, data)
    write_text(stamp, digest + "\n")
    return True


@task(task_run_name="release {models.name}", cache_policy=NO_CACHE)
def release(run_dir: Path, data: Path, models: Path) -> Verdict:
    """Release the run's best model if it is better, and say so on the Prefect page."""
    verdict = release_if_better(model_path(run_dir, "best"), run_dir.name, data, models)
    sentence = f"**{run_dir.name}** was {'released' if verdict.released else 'not released'}: {verdict.reason}."
    get_run_logger().info(sentence.replace("*", ""))
    create_markdown_artifact(markdown=sentence, key="release", description=f"Verdict on the new model of {models.name}")
    return verdict
