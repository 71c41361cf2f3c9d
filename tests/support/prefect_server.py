"""A real Prefect server, in a process of its own, on a port of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prefect.events.worker import EventsWorker

from tests.support.processes import free_port, stopped

_START_TIMEOUT_S = 180.0


@dataclass
class PrefectServer:
    """A running server: the URL of its API, and its process."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def running_prefect_server(home: Path, port: int | None = None, database: str | None = None) -> Iterator[PrefectServer]:
    """Run a Prefect server; it may be killed meanwhile. Its database is `prefect.db` in `home`, or one with a URL."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = home / "server.log"
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": url}
    if database:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with stopped(process):
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _is_up(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Prefect server did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield PrefectServer(url, process)
        EventsWorker.drain_all(timeout=10)  # or what this process still has to tell would be told to nobody


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0).json() is True  # as Prefect says it, and nobody else
    except (httpx.HTTPError, ValueError):
        return False
