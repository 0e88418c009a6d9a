"""An existing Dask cluster as the place where stages train (extra ``dask``)."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from miha.errors import ConfigError, RunError
from miha.events import Event, from_json, observed_by, publish, to_json
from miha.training.spec import StageSpec

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner

_CONNECT = 10.0  # seconds to wait for the scheduler


@contextmanager
def cluster(address: str, run_dir: Path) -> Iterator["DaskTaskRunner"]:
    """A task runner on the cluster; what its workers tell of this run is published here while the block runs.

    Args:
        address: of the scheduler, ``tcp://host:8786``.
        run_dir: folder of the run, on storage that all workers share.

    Raises:
        ConfigError: Dask is not installed, no such scheduler, no workers, or a worker that does not see ``run_dir``.
    """
    try:
        from distributed import Client
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise ConfigError("run.dask needs Dask, which is not installed: pip install 'miha[dask]'.") from error
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address}: {error}. Start one with `dask scheduler`."
        ) from error
    with client:
        run_dir.mkdir(parents=True, exist_ok=True)
        seen = client.run(os.path.isdir, str(run_dir))
        if not seen:
            raise ConfigError(f"the Dask cluster at {address} has no workers. Start some: `dask worker {address}`.")
        if blind := [worker for worker, sees in seen.items() if not sees]:
            raise ConfigError(
                f"{', '.join(blind)} cannot see {run_dir}. Choose a --run-dir on storage that all Dask workers share."
            )
        client.subscribe_topic(_topic(str(run_dir)), lambda message: publish(from_json(message[1]["event"])))
        yield DaskTaskRunner(address=address)


@contextmanager
def send_from_cluster(spec: StageSpec) -> Iterator[None]:
    """In a Dask worker: send the stage's events to who started the run, and end the stage when that is gone.

    Elsewhere nothing: the events are there already, and a worker ends with its parent.
    """
    if "distributed" not in sys.modules:
        yield
        return
    from distributed import get_worker
    from distributed.worker import thread_state  # type: ignore[attr-defined]

    try:
        worker = get_worker()
    except ValueError:
        yield
        return
    key = thread_state.key

    def send(event: Event) -> None:
        if getattr(event, "stage", None) == spec.stage:
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled":  # Dask cannot stop a thread, so the stage stops itself
                raise RunError(f"{spec.name} is not wanted any more: the run that asked for it has ended.")
            worker.log_event(_topic(spec.run_dir), {"event": to_json(event).decode()})  # Dask adds keys of its own

    with observed_by(send):
        yield


def _topic(run_dir: str) -> str:
    return f"miha {run_dir}"
