"""Tasks that compute: preparing samples and training a stage. Each makes one call into the pool of processes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, singledispatch
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger

from miha.config import Faults
from miha.events import EpochEnded, Event, StageEnded, StageRetried, StageReused, StageStarted, observed_by, publish
from miha.experiment import Experiment
from miha.records.record import StageRecord
from miha.training.spec import StageSpec
from miha.training.stage import run_stage
from miha.training.workers import is_transient, submit
from miha.wording import plural
from tasks.cluster import send_from_cluster


@task(task_run_name="samples", cache_policy=NO_CACHE)
def prepare_samples(experiment: Experiment) -> None:
    """Compute once what every stage needs."""
    experiment.prepare()


@task(cache_policy=NO_CACHE)
def train_stage(spec: StageSpec) -> StageRecord:
    """Train one stage, or take what an earlier try of this run left."""
    with _logged(spec), send_from_cluster(spec):
        record: StageRecord = submit(run_stage, spec, timeout=spec.timeout).result()
    return record


def training_task(spec: StageSpec, faults: Faults) -> Task[[StageSpec], StageRecord]:
    """``train_stage`` under the name of what it trains, tried again after failures that may pass."""

    async def may_pass(task: Any, run: TaskRun, state: State[Any]) -> bool:
        """Whether another try makes sense: not for an error of MIHA. Asked while tries are left."""
        error = await state.aresult(raise_on_failure=False)
        if isinstance(error, BaseException) and not is_transient(error):
            return False
        publish(StageRetried(spec.stage, spec.change, f"{type(error).__name__}: {error}"))
        return True

    return train_stage.with_options(
        name=_work(spec),
        task_run_name=stage_title(spec),
        retries=faults.retries,
        retry_delay_seconds=faults.retry_delay,
        retry_jitter_factor=0.5,
        retry_condition_fn=may_pass,
    )


def stage_title(spec: StageSpec) -> str:
    """What a stage is called on the Prefect page, e.g. ``cycle 2, candidate 3: encoder.0.2 ReLU -> GELU``.

    In ASCII: the page draws its timeline in a font that has little else.
    """
    stage, change = spec.stage, str(spec.change).replace("→", " -> ")
    titles = {
        "candidate": f"cycle {stage.cycle}, candidate {stage.candidate}: {change}",
        "heat": f"cycle {stage.cycle}, heat of candidate {stage.candidate}: {change}",
        "soup": f"cycle {stage.cycle}, {change}",
        "fixing": f"cycle {stage.cycle}, fixing: {change}",
    }
    return titles.get(stage.kind, _work(spec))


def _work(spec: StageSpec) -> str:
    """What the task of a stage does."""
    return f"{spec.stage.kind} training" if spec.epochs else f"validation of the {spec.stage.kind}"


@singledispatch
def _line(event: Event) -> str:
    """What the log of a task run says of an event; nothing of most."""
    return ""


@_line.register
def _(event: StageStarted) -> str:
    return f"{event.stage}: {plural(event.epochs, 'epoch')}, {event.done} of them done before"


@_line.register
def _(event: EpochEnded) -> str:
    epoch = event.epoch
    losses = f"validation loss {_rounded(epoch.valid_loss)}"
    if epoch.epoch:
        losses = f"training loss {_rounded(epoch.train_loss)}, {losses}"
    return f"{event.stage}: epoch {epoch.epoch}, {losses}, lr {_rounded(epoch.lr)}"


@_line.register
def _(event: StageReused) -> str:
    return f"{event.stage}: trained before, {plural(event.epochs, 'epoch')} reused"


@_line.register
def _(event: StageEnded) -> str:
    return f"{event.stage}: finished after {event.seconds:.4g} s, validation loss {_rounded(event.valid_loss)}"


def _rounded(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


@contextmanager
def _logged(spec: StageSpec) -> Iterator[None]:
    """Write the stage's events, which come from its process, to the log of the task run."""
    complete = threading.Event()
    with observed_by(partial(_log, get_run_logger(), spec, complete)):
        yield
        complete.wait(5)  # the last event may arrive after the result


def _log(logger: Any, spec: StageSpec, complete: threading.Event, event: Event) -> None:
    if getattr(event, "stage", None) == spec.stage and (line := _line(event)):
        logger.info(line)
        if isinstance(event, StageReused | StageEnded):
            complete.set()
