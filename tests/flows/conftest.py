"""A local VideoDB with the sample meeting, a faulty network before it, a Prefect server with the deployment."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.local_server import LocalServer
from prefect_videodb.recording.models import MeetingRecording
from tests.support.faulty_proxy import FaultyProxy
from tests.support.prefect_server import read_flow_run
from tests.support.processes import Process, stopped, wait_for
from tests.support.programs import execute, start
from tests.support.speech import OneSentence

KEY = "sk-flows-0123456789"


@pytest.fixture(scope="session")
def videodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Give a VideoDB that hears the same sentence again and again; what listens is in `test_record_meeting`."""
    with LocalServer(tmp_path_factory.mktemp("videodb"), api_key=KEY, speech=OneSentence()) as server:
        yield server


@pytest.fixture
def proxy(videodb: LocalServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(videodb.base_url).running() as running:
        yield running


@dataclass
class Account:
    """An account of the local server, as tests look at it: past the proxy, with plain HTTP."""

    block: VideoDBCredentials
    base_url: str

    def streams(self, name_holds: str) -> list[dict[str, Any]]:
        answer = httpx.get(
            f"{self.base_url}/rtstream",
            params={"limit": 1000, "name": name_holds},
            headers={"x-access-token": KEY},
            timeout=30.0,
        )
        streams: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["results"]
        return streams

    def statuses(self, run: "Run") -> list[str]:
        """Give the statuses of a run's streams."""
        return [stream["status"] for stream in self.streams(str(run.id))]

    def connect(self, name: str) -> str:
        """Connect a stream that no recording made."""
        source = cast("RTStreamSource", RTStreamSource.load("meeting-room"))
        body = {"url": source.url.get_secret_value(), "name": name, "media_types": ["video"]}
        answer = httpx.post(f"{self.base_url}/rtstream", json=body, headers={"x-access-token": KEY}, timeout=30.0)
        return str(answer.raise_for_status().json()["data"]["id"])

    def has_recorded(self, run: "Run", seconds: float = 4.0) -> bool:
        """Say whether so much of a run's stream can be played."""
        [stream] = self.streams(str(run.id))
        end = time.time()
        return self.plays(stream["id"], end - seconds - 2.0, end - seconds)

    def plays(self, rtstream_id: str, start: float, end: float) -> bool:
        """Say whether a window of a stream, in unix seconds, can be played."""
        answer = httpx.get(
            f"{self.base_url}/rtstream/{rtstream_id}/stream",
            params={"start": start, "end": end},
            headers={"x-access-token": KEY},
            timeout=30.0,
        )
        return answer.is_success

    def videos(self, name_holds: str) -> list[dict[str, Any]]:
        answer = httpx.get(
            f"{self.base_url}/video", params={"count": 1000}, headers={"x-access-token": KEY}, timeout=30.0
        )
        videos: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["videos"]
        return [video for video in videos if name_holds in video["name"]]

    def stop_all(self) -> None:
        for stream in self.streams(""):
            if stream["status"] != "stopped":
                self.stop(stream["id"])

    def stop(self, rtstream_id: str) -> None:
        httpx.patch(
            f"{self.base_url}/rtstream/{rtstream_id}/status",
            json={"action": "stop"},
            headers={"x-access-token": KEY},
            timeout=30.0,
        ).raise_for_status()


@pytest.fixture
def account(prefect_api: str, videodb: LocalServer, proxy: FaultyProxy) -> Iterator[Account]:
    """Save the blocks that the deployment names: the account behind the proxy, the sample meeting as the source."""
    assert prefect_api
    assert videodb.sample_url
    block = VideoDBCredentials(api_key=SecretStr(KEY), base_url=proxy.url, timeout_s=20.0)
    block.save("default", overwrite=True)
    RTStreamSource(url=SecretStr(videodb.sample_url), name="Sample meeting").save("meeting-room", overwrite=True)
    known = Account(block, videodb.base_url)
    yield known
    known.stop_all()


@pytest.fixture(scope="session")
def deployed(prefect_url: str) -> str:
    """Deploy everything in `prefect.yaml` to the fresh server, as the README says."""
    return deploy(prefect_url)


def set_schedules(name: str, *, active: bool) -> None:
    """Switch the schedules of a deployment on or off."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(f"{name}/{name}")
        for one in found.schedules:
            assert one.active is not active, name
            client.update_deployment_schedule(found.id, one.id, active=active)


def deploy(prefect_url: str) -> str:
    """Deploy everything in `prefect.yaml` to a server."""
    environment = {"PREFECT_API_URL": prefect_url}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        pools = [["work-pool", "create", pool, "--type", "process"] for pool in ("meetings", "cleanup")]
        for command in (*pools, ["deploy", "--all"]):
            with stopped(start("prefect", *command, log=log, environment=environment)) as process:
                assert process.wait(240) == 0, log.read_text()
    # Each process that a worker starts costs seconds, and one that is killed keeps its concurrency slot for minutes.
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        for name in ("recover-dead-runs", "stop-orphaned-streams"):
            set_schedules(name, active=False)
    return "record-meeting/record-meeting"


def look_after_only(credentials: str | None) -> None:
    """Let the deployment that looks after streams look at one account; at all of them when None."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name("stop-orphaned-streams/stop-orphaned-streams")
        client.update_deployment(found.id, DeploymentUpdate(parameters={"credentials": credentials}))


def pool_in_process() -> str:
    """Make a work pool whose worker runs flows inside its own process."""
    pool = f"in-process-{uuid4()}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type="videodb-in-process"))
    return pool


def deploy_to(pool: str, entrypoint: str, flow_name: str, tags: list[str] | None = None) -> UUID:
    """Deploy one flow to a work pool."""
    with get_client(sync_client=True) as client:
        return client.create_deployment(
            client.create_flow_from_name(flow_name),
            name=pool,
            entrypoint=entrypoint,
            work_pool_name=pool,
            pull_steps=[],
            tags=tags,
            enforce_parameter_schema=False,
        )


@dataclass
class Run:
    """One flow run of the deployment, executed in processes that a test may kill."""

    id: UUID

    @classmethod
    def of(cls, deployment: str, **parameters: Any) -> "Run":
        created = run_deployment(deployment, parameters=parameters, timeout=0)
        assert isinstance(created, FlowRun)
        return cls(created.id)

    def execute(self) -> Process:
        """Start an execution as a worker does, in a process of its own."""
        return execute(self.id, Path(os.devnull))

    def finish(self, timeout_s: float = 240.0) -> FlowRun:
        """Execute to the end."""
        with stopped(self.execute()) as process:
            process.wait(timeout_s)
        return self.read()

    def schedule_again(self) -> None:
        """Put the run back to be continued, as somebody who retries it does."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.id, Scheduled(name="AwaitingRetry"), force=True)

    def read(self) -> FlowRun:
        return read_flow_run(self.id)

    def state(self) -> State[Any]:
        state = self.read().state
        assert state is not None
        return state

    def wait_for_label(self, label: str) -> None:
        wait_for(f"label {label}", lambda: label in self.read().labels)

    def logs(self) -> str:
        with get_client(sync_client=True) as client:
            answer = client.request(
                "POST", "/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(self.id)]}}, "limit": 200}
            )
        return "\n".join(line["message"] for line in answer.json())

    def artifacts(self) -> dict[str, dict[str, Any]]:
        with get_client(sync_client=True) as client:
            answer = client.request(
                "POST", "/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [str(self.id)]}}}
            )
        return {artifact["key"]: artifact for artifact in answer.json()}


def kill_while_it_records(account: Account, run: Run) -> None:
    """Execute a run, and kill its process as soon as something is recorded."""
    with stopped(run.execute()) as process:
        run.wait_for_label("videodb.window_start")
        wait_for("something is recorded", lambda: account.has_recorded(run))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


SECONDS = 12.0
# Wait inside the process, as a run does that is called directly.
HOLDING = {"hold_process": True}
SHORT: dict[str, Any] = {"duration_minutes": SECONDS / 60}


def result_of(run: FlowRun) -> MeetingRecording:
    assert run.state is not None
    assert run.state.is_completed(), run.state
    result = run.state.result(_sync=True)  # type: ignore[call-arg]
    assert isinstance(result, MeetingRecording)
    return result


def the_one_stopped_stream(account: Account, run: Run) -> dict[str, Any]:
    streams = account.streams(str(run.id))
    assert [stream["status"] for stream in streams] == ["stopped"], streams
    return streams[0]
