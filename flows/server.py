"""The Prefect server that a flow talks to: the configured one, or a temporary one that ends with this process."""

import atexit
import importlib.util
import os
import select
import subprocess
import sys
import time
import urllib.request
from functools import cache

from miha.errors import ConfigError

STARTUP = 180  # seconds; the first start prepares a data base, which takes 20 s on an idle machine
NOT_STARTED = "Prefect's temporary server did not start. Try again, or pass --no-prefect."
API_URL = "PREFECT_API_URL"
WITHOUT = {  # what nobody sees of a server that soon ends
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


@cache
def start_server() -> "subprocess.Popen[str] | None":
    """Begin to start a temporary server; to be called before Prefect is imported.

    None if a server is named in the environment, or Prefect is imported already, which then starts its own. Prefect may
    be configured with a server elsewhere: then that one's address is all that the process says.

    Raises:
        ConfigError: Prefect is not installed.
    """
    if os.environ.get(API_URL) or "prefect" in sys.modules:
        return None
    if importlib.util.find_spec("prefect") is None:
        raise ConfigError("Prefect is not installed: pip install 'miha[prefect]', or pass --no-prefect.")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.temporary_server"],  # -P: not a package of that name in the current folder
        env={**os.environ, **WITHOUT},
        stdin=subprocess.PIPE,  # closed when this process ends, however it does
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the flow, which still has to tell the server how it ended
    )
    atexit.register(process.terminate)
    return process


def choose_server() -> None:
    """Let Prefect, which is to be imported next, talk to the server that :func:`start_server` started.

    Raises:
        ConfigError: the server does not start.
    """
    if (process := start_server()) is not None and not os.environ.get(API_URL):
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], STARTUP)
        address = process.stdout.readline().strip() if ready else ""
        if not address:
            process.kill()
            raise ConfigError(NOT_STARTED)
        os.environ[API_URL] = address


def reach_server() -> None:
    """Wait until the chosen server answers, one that just starts for as long as it takes.

    Raises:
        ConfigError: it does not answer.
    """
    from prefect.settings import PREFECT_API_URL

    if not (url := PREFECT_API_URL.value()):
        return  # Prefect starts a server of its own
    process, end = start_server(), time.monotonic() + STARTUP
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=10).close()
            return
        except (OSError, ValueError) as error:
            if process is None or process.poll() == 0:
                raise ConfigError(
                    f"no Prefect server answers at {url} ({error}). Start it with `prefect server start`, unset "
                    "PREFECT_API_URL (in the environment and in Prefect's profile) for a temporary one, or pass "
                    "--no-prefect."
                ) from error
            if process.poll() is not None or time.monotonic() > end:
                raise ConfigError(
                    "Prefect's temporary server did not start. Try again, or pass --no-prefect."
                ) from error
        time.sleep(0.1)
