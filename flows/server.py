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
API_URL = "PREFECT_API_URL"


@cache
def start_server() -> "subprocess.Popen[str] | None":
    """Begin to start a temporary server, if none is named in the environment; to be called before Prefect is imported.

    Prefect may be configured with a server elsewhere: then that one's address is all that the process says.

    Raises:
        ConfigError: Prefect is not installed.
    """
    if os.environ.get(API_URL) or "prefect" in sys.modules:
        return None
    if importlib.util.find_spec("prefect") is None:
        raise ConfigError("Prefect is not installed: pip install 'miha[prefect]', or pass --no-prefect.")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.temporary_server"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
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
        said, _, _ = select.select([process.stdout], [], [], STARTUP)
        address = process.stdout.readline().strip() if said else ""
        if not address:
            process.kill()
            raise ConfigError("Prefect's temporary server did not start. Try again, or pass --no-prefect.")
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
            if process is None or process.poll() is not None or time.monotonic() > end:
                raise ConfigError(
                    f"no Prefect server answers at {url} ({error}). Start it with `prefect server start`, unset "
                    "PREFECT_API_URL for a temporary one, or pass --no-prefect."
                ) from error
        time.sleep(0.1)
