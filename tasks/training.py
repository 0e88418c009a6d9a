"""Tasks that compute: preparing samples and training a stage. Each makes one call into the pool of processes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger

from miha import progress
from miha.config import Faults
from miha.experiment import Experiment
from miha.records.record import StageRecord
from miha.run import prepare
from miha.training.stages import StageSpec, run_stage
from miha.training.workers import is_transient, submit
from tasks.cluster import send_from_cluster


@task(task_run_name="samples", cache_policy=NO_CACHE)
def prepare_samples(experiment: Experiment) -> None:
    """Compute once what every stage needs."""
    prepare(experiment)


@task(cache_policy=NO_CACHE)
def train_stage(spec: StageSpec) -> StageRecord:
    """Train one stage, or take what an earlier try of this run left."""
    with _logged(spec), send_from_cluster(spec):
        record: StageRecord = submit(run_stage, spec, timeout=spec.timeout).result()
    return record


def training_task(spec: StageSpec, faults: Faults) -> Task[[StageSpec], StageRecord]:
    """``train_stage`` under the name of what it trains, tried again after failures that may pass."""
    return train_stage.with_options(
        name=f"{spec.stage} training",
        task_run_name=stage_title(spec),
        retries=faults.retries,
        retry_delay_seconds=faults.retry_delay,
        retry_jitter_factor=0.5,
        retry_condition_fn=_may_pass,
    )


def stage_title(spec: StageSpec) -> str:
    """What a stage is called on the Prefect page, e.g. ``cycle 2, candidate 3: ReLU -> GELU in encoder.0.2``.

    In ASCII: the page draws its timeline in a font that has little else.
    """
    change = spec.change.replace("→", " -> ")
    if spec.stage == "candidate":
        return f"cycle {spec.cycle}, candidate {spec.candidate}: {change}"
    return f"cycle {spec.cycle}, fixing: {change}" if spec.stage == "fixing" else f"{spec.stage} training"


async def _may_pass(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Whether another try makes sense: not for what the library said on purpose."""
    error = await state.aresult(raise_on_failure=False)
    return not isinstance(error, BaseException) or is_transient(error)


_LINES = {  # of the log, by event
    "stage_started": "{stage}: {epochs} epochs, {done} of them done before",
    "epoch": "{stage}: epoch {epoch}, training loss {train_loss}, validation loss {valid_loss}, lr {lr}",
    "stage_reused": "{stage}: trained before, {epochs} epochs reused",
    "stage_finished": "{stage}: finished after {seconds} s, validation loss {valid_loss}",
}
_LAST = ("stage_reused", "stage_finished")


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


@contextmanager
def _logged(spec: StageSpec) -> Iterator[None]:
    """Write the stage's events, which come from its process, to the log of the task run."""
    logger, complete = get_run_logger(), threading.Event()

    def log(event: progress.Event) -> None:
        if event.get("stage") == spec.name and (line := _LINES.get(event["event"])):
            logger.info(line.format(**{key: _rounded(value) for key, value in event.items()}))
            if event["event"] in _LAST:
                complete.set()

    with progress.observed_by(log):
        yield
        complete.wait(5)  # the last event may arrive after the result
