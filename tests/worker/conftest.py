"""The worker as a process of its own, on a pool of its own, with the sample flows deployed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling, Scheduled

from tests.support.prefect_server import read_flow_run
from tests.support.processes import Process, wait_for
from tests.support.programs import running_worker


@dataclass
class Pool:
    """A work pool, and workers on it."""

    name: str
    folder: Path
    exits: ExitStack

    def start(self, *arguments: str, name: str = "first", heartbeat_s: int = 30, api_url: str | None = None) -> Process:
        """Start a worker; it ends with the test."""
        environment = {
            "SAMPLE_FLOWS_LOADS": str(self.folder / "loads"),
            "PREFECT_LOGGING_LEVEL": "DEBUG",
            "PREFECT_WORKER_HEARTBEAT_SECONDS": str(heartbeat_s),
        }
        environment |= {"PREFECT_API_URL": api_url} if api_url else {}
        worker = running_worker(self.folder, self.name, *arguments, name=name, environment=environment)
        return self.exits.enter_context(worker)

    def deploy(self, entrypoint: str, name: str = "a-flow") -> UUID:
        """Deploy a flow by its entrypoint."""
        with get_client(sync_client=True) as client:
            flow_id = client.create_flow_from_name(name)
            return client.create_deployment(
                flow_id, name=f"{name}-{uuid4()}", entrypoint=entrypoint, work_pool_name=self.name, pull_steps=[]
            )

    def run(self, flow: str, at: datetime | None = None, **parameters: Any) -> "Run":
        """Create a run of a sample flow, due now or then, with a folder for its notes."""
        deployment = self.deploy(f"tests.worker.sample_flows.{flow}", flow)
        return self.run_of(deployment, at, **parameters)

    def run_of(self, deployment: UUID, at: datetime | None = None, **parameters: Any) -> "Run":
        """Create a run of a deployment."""
        folder = self.folder / str(uuid4())
        folder.mkdir()
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(
                deployment, parameters={"folder": str(folder)} | parameters, state=Scheduled(scheduled_time=at)
            )
        return Run(run.id, folder)

    def log(self) -> str:
        return (self.folder / "worker.log").read_text()


@dataclass
class Run:
    """One flow run, and the folder where it leaves notes."""

    id: UUID
    folder: Path

    def notes(self) -> list[str]:
        file = self.folder / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def moments(self, what: str) -> list[float]:
        """Give when it did something, as its notes say."""
        return [float(line.split()[-1]) for line in self.notes() if line.startswith(what)]

    def read(self) -> FlowRun:
        return read_flow_run(self.id)

    def state(self) -> str:
        return str(self.read().state_name)

    def wait_until_claimed(self) -> None:
        self.wait_until(lambda: self.read().infrastructure_pid, "its worker has claimed it")

    def wait_until(self, is_so: Callable[[], object], what: str) -> None:
        wait_for(what, is_so, 90.0)

    def wait_for_state(self, *names: str) -> None:
        wait_for(f"{self.id} is {names}", lambda: self.state() in names, 90.0)

    def wait_for_note(self, line: str) -> None:
        wait_for(f"a note {line!r}", lambda: line in self.notes(), 90.0)

    def end(self) -> None:
        """Tell the flow to end."""
        (self.folder / "end").touch()

    def cancel(self) -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.id, Cancelling())

    def move(self, at: datetime, name: str = "Scheduled") -> None:
        """Schedule it for another time."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.id, Scheduled(scheduled_time=at, name=name), force=True)

    def delete(self) -> None:
        with get_client(sync_client=True) as client:
            client.delete_flow_run(self.id)

    def logs(self) -> str:
        with get_client(sync_client=True) as client:
            answer = client.request(
                "POST", "/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(self.id)]}}, "limit": 200}
            )
        return "\n".join(line["message"] for line in answer.json())


@pytest.fixture
def pool(prefect_api: str, tmp_path: Path) -> Iterator[Pool]:
    assert prefect_api
    name = f"in-process-{uuid4()}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=name, type="videodb-in-process"))
    with ExitStack() as exits:
        yield Pool(name, tmp_path, exits)
