"""A Prefect server in a process of its own, for as long as the process that started it: ``-m flows.temporary_server``.

It prints one line at once: the address where it will answer. Where Prefect is configured with a server, it prints the
address of that one and ends. Prefect could start a server itself, but only when all of Prefect is imported, and would
leave it behind when it is killed.
"""

import os
import signal
import socket
import threading
import time

import uvicorn
from prefect.settings import PREFECT_API_URL


def main() -> None:
    """Serve until the parent is gone, or at once name the server that is configured."""
    threading.Thread(target=_follow, daemon=True).start()
    if configured := PREFECT_API_URL.value():
        print(configured, flush=True)
        return
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/api", flush=True)
    from prefect.server.api.server import create_app  # costs seconds, after the address is known

    uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on")).run(sockets=[listener])


def _follow() -> None:
    """When the pipe to the parent is closed, end this process: in an orderly way if it can, in any case soon."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3)
    os._exit(1)


if __name__ == "__main__":
    main()
