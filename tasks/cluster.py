"""An existing Dask cluster as the place where stages train and days are filled (extra ``dask``)."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from miha.errors import ConfigError, RunError
from miha.events import Event, Message, from_json, observed_by, publish, to_json
from miha.training.spec import StageSpec
from miha.training.workers import working_in

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as Remote
    from prefect.futures import PrefectFuture
    from prefect_dask.task_runners import DaskTaskRunner

_CONNECT = 10.0  # seconds to wait for the scheduler
_PATIENCE = 60.0  # seconds without any worker until work on a cluster ends
_LOOK = 2.0  # seconds between looks for workers
_LACKING = "{} needs Dask, which is not installed: pip install 'miha[dask]'."


class ClusterGone(RunError):
    """A cluster that work was given to cannot do it any more: its scheduler is gone, or all of its workers."""


@contextmanager
def cluster(address: str, run_dir: Path) -> Iterator["DaskTaskRunner"]:
    """A task runner on the cluster; what its workers tell of this run is published here while the block runs.

    Args:
        address: of the scheduler, ``tcp://host:8786``.
        run_dir: folder of the run, on storage that all workers share.

    Raises:
        ConfigError: as :func:`connected`.
    """
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise ConfigError(_LACKING.format("run.dask")) from error
    run_dir.mkdir(parents=True, exist_ok=True)
    with connected(address, run_dir, "run.dask"):
        yield DaskTaskRunner(address=address)


@contextmanager
def working_on(address: str, out: Path, needed: Sequence[Path] = ()) -> Iterator[None]:
    """Compute on the cluster while the block runs, one call at a time in each of its processes.

    What a worker that dies was computing is given to another one. Calls raise :class:`ClusterGone` once there has been
    none for a minute.

    Args:
        address: of the scheduler, ``tcp://host:8786``.
        out: folder to write to.
        needed: what else the workers must see under the same path.

    Raises:
        ConfigError: as :func:`connected`.
    """
    with connected(address, out, "--dask", needed) as client:
        pool = _ClusterPool(client, address, _topic(out))
        threading.Thread(target=pool.watch, daemon=True, name="miha-dask-watch").start()
        with working_in(pool):
            yield


@contextmanager
def connected(address: str, folder: Path, option: str, needed: Sequence[Path] = ()) -> Iterator["Client"]:
    """A client of the cluster; what its workers tell of the work in a folder is published here while the block runs.

    Args:
        address: of the scheduler.
        folder: where the work is done, on storage that all workers share.
        option: what the user called the address.
        needed: what else they must see.

    Raises:
        ConfigError: Dask is not installed; no such scheduler; no workers; a worker without this version of MIHA, or
            which does not see a folder.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(_LACKING.format(option)) from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it says in pages, we say in a line
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address}: {error}. Start one with `dask scheduler`."
        ) from error
    with client:
        own = version("miha")
        versions = client.run(version, "miha", on_error="return")
        if not versions:
            raise ConfigError(f"the Dask cluster at {address} has no workers. Start some: `dask worker {address}`.")
        if strange := [worker for worker, installed in versions.items() if installed != own]:
            raise ConfigError(f"{', '.join(strange)} has no MIHA {own}. Install this version on all Dask workers.")
        with TemporaryDirectory(dir=folder, prefix=".seen-") as new:  # another machine may have folders of these names
            for path, probe in [(folder, new), *((path, str(path)) for path in needed)]:
                seen = client.run(os.path.exists, probe)
                if blind := [worker for worker, sees in seen.items() if not sees]:
                    raise ConfigError(
                        f"{', '.join(blind)} cannot see {path}. Put it on storage that all Dask workers share, under "
                        "one path."
                    )
        client.subscribe_topic(_topic(folder), lambda message: publish(from_json(message[1]["event"])))
        yield client


def await_workers(client: "Client", address: str) -> None:
    """Wait a minute for a worker if a cluster has none.

    Raises:
        ClusterGone: there has been none.
    """
    if client.nthreads():
        return
    publish(Message(f"the Dask cluster at {address} has no worker left: {_PATIENCE:.0f} s for one"))
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError as error:
        raise ClusterGone(
            f"the Dask cluster at {address} has had no worker for {_PATIENCE:.0f} s. Start some: "
            f"`dask worker {address}`."
        ) from error


def result_of(future: "PrefectFuture[Any]", address: str) -> Any:
    """The result of a task on a cluster, awaited as long as that has workers.

    Raises:
        ClusterGone: it has none any more.
        Exception: what the task failed with.
    """
    while True:
        try:
            result = future.result(timeout=_LOOK, raise_on_failure=False)  # so what is raised here is not the task's
        except TimeoutError:
            await_workers(future.wrapped_future.client, address)  # type: ignore[attr-defined]
            continue
        if isinstance(result, Exception):
            raise result
        return result


class _ClusterPool:
    """A cluster as a pool for :func:`miha.training.workers.submit`."""

    def __init__(self, client: "Client", address: str, topic: str) -> None:
        self.client, self.address, self.topic = client, address, topic
        self.pending: dict[Remote[Any], Future[Any]] = {}  # Dask gives up what nobody holds any more
        self.gone: ClusterGone | None = None
        self.stopped = threading.Event()

    def schedule(self, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float | None) -> Future[Any]:
        """Compute a call on any worker; a Dask worker cannot stop one, so it may take as long as it needs."""
        result: Future[Any] = Future()
        remote = self.client.submit(_call, self.topic, function, *arguments, pure=False)
        self.pending[remote] = result
        if self.gone:
            self._give_up(self.gone)
        else:
            self.client.loop.add_callback(self._settle, remote)  # type: ignore[union-attr]  # it is connected
        return result

    async def _settle(self, remote: "Remote[Any]") -> None:
        """Wait for a call in the client's loop, where it stays pending until its result is here.

        A worker may die between the end of a call and the fetching of its result. The call is then computed again, or
        given up if no worker is left.
        """
        error: Exception | None = None
        value = None
        try:
            value = await self.client.gather(remote, asynchronous=True)
        except CancelledError:
            error = ClusterGone(f"the Dask scheduler at {self.address} is gone.")
        except Exception as failure:
            error = failure
        if result := self.pending.pop(remote, None):
            result.set_exception(error) if error else result.set_result(value)

    def watch(self) -> None:
        """Until the pool is stopped, look whether there are workers, and give up if there are none for too long."""
        while not self.stopped.wait(_LOOK):
            try:
                if self.pending:
                    await_workers(self.client, self.address)
            except ClusterGone as gone:
                self.gone = gone
                self._give_up(gone)
                return
            except Exception:  # the scheduler is gone, or the client closed, which calls are told of
                return

    def _give_up(self, why: ClusterGone) -> None:
        while self.pending:
            _, result = self.pending.popitem()
            result.set_exception(why)

    def stop(self) -> None:
        """Cancel what has not begun."""
        self.stopped.set()
        self.client.cancel(list(self.pending))


# A worker may have several threads, but open rasters and PyTorch's random state are the process's.
_alone = threading.Lock()


def _call(topic: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """In a Dask worker: compute a call, and send its events to whoever asked for it."""
    from distributed import get_worker

    worker = get_worker()
    with _alone, observed_by(partial(_tell, worker, topic)):
        return function(*arguments)


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
            _tell(worker, _topic(Path(spec.run_dir)), event)

    with observed_by(send):
        yield


def _tell(worker: Any, topic: str, event: Event) -> None:
    worker.log_event(topic, {"event": to_json(event).decode()})  # Dask adds keys of its own


def _topic(folder: Path) -> str:
    return f"miha {folder}"
