"""A real Prefect server, in a process of its own, on a port of its own."""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL

from tests.support.migrated import made_once, upgrade
from tests.support.processes import Process, free_port, stopped
from tests.support.programs import start

_START_TIMEOUT_S = 180.0
# Kept for all who wait for a run: each client of Prefect's own is made, and connects, anew.
_HTTP = httpx.Client(timeout=60.0)


@dataclass
class PrefectServer:
    """A running server: the URL of its API, and its process."""

    url: str
    process: Process


@contextmanager
def running_prefect_server(
    home: Path, port: int | None = None, database: str | None = None, *, ui: bool = False
) -> Iterator[PrefectServer]:
    """Run a Prefect server; it may be killed meanwhile. Its database is `prefect.db` in `home`, or one with a URL."""
    if not database and not (home / "prefect.db").exists():
        shutil.copyfile(made_once("sqlite", _migrate) / "prefect.db", home / "prefect.db")
    port = port or free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = home / "server.log"
    environment = {"PREFECT_HOME": str(home), "PREFECT_API_URL": url, "PREFECT_UI_ENABLED": str(ui)}
    environment["PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS"] = "1"  # calls workers offline
    if database:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database
    process = start("prefect", "server", "start", "--port", str(port), log=log, environment=environment)
    with stopped(process):
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _is_up(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Prefect server did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield PrefectServer(url, process)
        EventsWorker.drain_all(timeout=10)  # or what this process still has to tell would be told to nobody


def read_flow_run(flow_run_id: UUID) -> FlowRun:
    """Read a run of the server that the environment names; tests that wait do it again and again."""
    answer = _HTTP.get(f"{PREFECT_API_URL.value()}/flow_runs/{flow_run_id}")
    return FlowRun.model_validate(answer.raise_for_status().json())


def runs_of(deployment_id: UUID | str) -> list[FlowRun]:
    """Give all runs of a deployment, in the order in which they were created."""
    found: list[FlowRun] = []
    with get_client(sync_client=True) as client:
        while True:
            body = {
                "deployments": {"id": {"any_": [str(deployment_id)]}},
                "limit": 200,
                "offset": len(found),
                "sort": "START_TIME_ASC",
            }
            page = client.request("POST", "/flow_runs/filter", json=body).json()
            found += [FlowRun.model_validate(run) for run in page]
            if len(page) < 200:
                return sorted(found, key=lambda run: run.created or run.expected_start_time or 0)


def is_final(run: FlowRun) -> bool:
    """Say whether a run has ended."""
    return run.state is not None and run.state.is_final()


def _migrate(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as home:
        upgrade({"PREFECT_HOME": home})
        copy = sqlite3.connect(folder / "prefect.db")
        with closing(copy), closing(sqlite3.connect(Path(home) / "prefect.db")) as source:
            source.backup(copy)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0).json() is True  # as Prefect says it, and nobody else
    except (httpx.HTTPError, ValueError):
        return False
