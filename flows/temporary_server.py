"""A Prefect server in a process of its own, for as long as the process that started it: ``-m flows.temporary_server``.

It prints one line at once: the address where it will answer, or the one that Prefect is configured with, and then ends.
Prefect could start one itself, but only when all of Prefect is imported, and would leave it behind when it is killed.
"""

import os
import socket
import threading
import time

import uvicorn
from prefect.settings import PREFECT_API_URL

WITHOUT = {  # what nobody sees of a server that soon ends
    "PREFECT_UI_ENABLED": "0",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


def main() -> None:
    """Serve until the parent is gone, or at once name the server that is configured."""
    if configured := PREFECT_API_URL.value():
        print(configured, flush=True)
        return
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/api", flush=True)
    os.environ |= WITHOUT
    from prefect.server.api.server import create_app  # reads them

    server = uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on"))
    threading.Thread(target=_follow, args=(server, os.getppid()), daemon=True).start()
    server.run(sockets=[listener])


def _follow(server: uvicorn.Server, parent: int) -> None:
    """End the server when its parent is gone, in an orderly way if it can, in any case soon."""
    while os.getppid() == parent:
        time.sleep(0.5)
    server.should_exit = True
    time.sleep(3)
    os._exit(1)


if __name__ == "__main__":
    main()
