"""The Prefect server that a flow talks to: the configured one, or a temporary one that ends with this process."""

import os
import subprocess

import httpx
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL

from miha.errors import ConfigError

STARTUP = 180  # seconds; the first start prepares a data base, which takes 20 s on an idle machine


def reach_server() -> None:
    """Make sure a server answers before a flow starts.

    Prefect leaves its temporary server behind when its process is killed, so a shell watches and stops it then.

    Raises:
        ConfigError: the server that PREFECT_API_URL names does not answer, or the temporary one does not start.
    """
    if url := PREFECT_API_URL.value():
        try:
            httpx.get(f"{url}/health", timeout=10).raise_for_status()
        except httpx.HTTPError as error:
            raise ConfigError(
                f"no Prefect server answers at {url} ({error}). Start it with `prefect server start`, unset "
                "PREFECT_API_URL for a temporary one, or pass --no-prefect."
            ) from error
        return
    server = SubprocessASGIServer()  # the one instance that Prefect itself would start
    try:
        server.start(timeout=STARTUP)
    except RuntimeError as error:
        raise ConfigError(
            f"Prefect's temporary server did not start ({error}). Try again, or pass --no-prefect."
        ) from error
    assert server.server_process is not None
    watch = f"exec >/dev/null 2>&1; while kill -0 {os.getpid()}; do sleep 1; done; kill {server.server_process.pid}"
    subprocess.Popen(["/bin/sh", "-c", watch], start_new_session=True, stdin=subprocess.DEVNULL)
