"""A webhook service in a process of its own, a deployment that its alerts start, bodies in the recorded shapes."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel, Field, SecretStr

from prefect_videodb.blocks import AlertWebhook
from prefect_videodb.webhooks.rules import AlertRoute
from tests.support.faulty_proxy import FaultyProxy
from tests.support.prefect_server import runs_of
from tests.support.processes import Process, stopped, wait_for
from tests.support.programs import spawn, start
from tests.support.sqs_server import environment_of, running_sqs_server

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TOKEN = "tok-0123456789-abcdefghij"
OLD_TOKEN = "old-0123456789-abcdefghij"

RECORDED: dict[str, Any] = {
    "event_id": "event-3adc40d26d6fed0d",
    "label": "door_opened",
    "confidence": 0.95,
    "explanation": "The door is open.\nSomebody came in.",
    "timestamp": "2025-05-28T23:36:39.979133+00:00",
    "start_time": "2025-05-29T05:06:36.612197+05:30",
    "end_time": "2025-05-29T05:06:46.612197+05:30",
    "stream_url": "https://rt.stream.videodb.io/manifests/rts-019711a0-0fde-7911-b282-25bc0b4ecf65/"
    "1748475396000000-1748475407000000.m3u8",
}


def firing(number: int, **fields: Any) -> dict[str, Any]:
    """Give the alert of another moment."""
    start = 1_748_475_396.0 + 10 * number
    return RECORDED | {"start_time": start, "end_time": start + 10} | fields


@flow(name="take-alert")
def take_alert(alert: dict[str, Any], extra: str = "") -> str:
    """Do nothing: what is tested is that it is started."""
    return f"{alert['label']}{extra}"


class Sure(BaseModel):
    """An alert that is sure."""

    confidence: float = Field(ge=0.9)


@flow(name="take-what-is-sure")
def take_what_is_sure(alert: Sure) -> None:
    """Do nothing, and take not every alert."""


@dataclass
class Service:
    """The process, and how to reach it."""

    process: Process
    log: Path
    token: str = TOKEN
    base_url: str = field(init=False)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30.0))

    def __post_init__(self) -> None:
        wait_for("it listens", self._address)
        self.base_url = str(self._address())

    def _address(self) -> str | None:
        found = re.search(r"received at (http://[^/]+)/", self.log.read_text())
        if self.process.poll() is not None:
            raise RuntimeError(self.log.read_text())
        return found[1] if found else None

    def url(self, route: str = "door", token: str | None = None) -> str:
        return f"{self.base_url}/videodb/{route}/{token or self.token}"

    def post(self, body: Any, route: str = "door", token: str | None = None, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"} | options.pop("headers", {})
        return self.http.post(self.url(route, token), content=content, headers=headers, **options)

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(f"{self.base_url}/healthz/{self.token}").raise_for_status().json()
        return answer


@dataclass
class Queues:
    """A queue for alerts and one for dead letters, in a server of their own."""

    sqs: "SQSClient"
    url: str
    dead: str

    def options(self) -> list[str]:
        return ["--inbox", self.url, "--dead-letters", self.dead]


@pytest.fixture
def proxy(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Put a proxy before Prefect that names a request by its path and body; programs started later go through it."""

    def named(path: str, body: bytes) -> str:
        return f"{path} {body.decode()}"

    with FaultyProxy(prefect_api.removesuffix("/api"), named=named).running() as running:
        monkeypatch.setenv("PREFECT_API_URL", f"{running.url}/api")
        yield running


@pytest.fixture(scope="session")
def sqs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_sqs_server(tmp_path_factory.mktemp("sqs-server")) as url:
        yield url


@pytest.fixture
def queues(sqs_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queues]:
    """Make two queues, and lead boto3 to them: here, and in the processes that the test starts."""
    for name, value in environment_of(sqs_server).items():
        monkeypatch.setenv(name, value)
    sqs = boto3.client("sqs")
    urls = [
        sqs.create_queue(QueueName=f"{name}-{uuid4().hex}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        for name in ("alerts", "dead")
    ]
    yield Queues(sqs, *urls)
    for url in urls:
        with suppress(sqs.exceptions.QueueDoesNotExist):
            sqs.delete_queue(QueueUrl=url)
    sqs.close()


@contextmanager
def running_service(
    inbox: Path | Queues,
    log: Path,
    *,
    port: int = 0,
    webhook: str = "default",
    only: str = "",
    shares_port: bool = False,
    host: str = "",
    is_bare: bool = False,
) -> Iterator[Any]:
    """Run the service; gives it, or its process alone where it does not listen. A bare one lacks the extra."""
    command = ["--webhook", webhook]
    command += inbox.options() if isinstance(inbox, Queues) else ["--inbox", str(inbox)]
    command += ["--port", str(port)] + (["--only", only] if only else []) + (["--share-port"] if shares_port else [])
    command += ["--host", host] if host else []
    log.write_bytes(b"")
    with stopped(
        spawn("tests.support.bare_webhooks", *command, log=log)
        if is_bare
        else start("prefect_videodb.webhooks", *command, log=log)
    ) as process:
        if only == "dispatcher":
            yield process
            return
        service = Service(process, log)
        with service.http:
            yield service


@pytest.fixture
def webhook(prefect_api: str) -> AlertWebhook:
    assert prefect_api
    return save_webhook()


def save_webhook() -> AlertWebhook:
    """Save the block that the service goes by."""
    block = AlertWebhook(
        base_url="https://hooks.example",
        token=SecretStr(TOKEN),
        previous_token=SecretStr(OLD_TOKEN),
        routes={
            "quiet": AlertRoute(cooldown_s=3600),
            "picky-quiet": AlertRoute(cooldown_s=3600),
            "slow": AlertRoute(per_minute=2),
            "slow-too": AlertRoute(per_minute=2),
        },
    )
    block.save("default", overwrite=True)
    return block


@pytest.fixture
def deployed(webhook: AlertWebhook) -> Iterator[str]:
    assert webhook
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(take_alert)
        deployment_id = client.create_deployment(
            flow_id, "alerts", tags=["videodb-alerts:door", "videodb-alerts:quiet"], enforce_parameter_schema=False
        )
        yield str(deployment_id)
        client.delete_deployment(deployment_id)


@pytest.fixture
def picky(webhook: AlertWebhook) -> Iterator[str]:
    """Deploy a flow that Prefect gives only some alerts to."""
    assert webhook
    with get_client(sync_client=True) as client:
        deployment_id = client.create_deployment(
            client.create_flow(take_what_is_sure),
            "picky",
            tags=["videodb-alerts:picky", "videodb-alerts:picky-quiet"],
            parameter_openapi_schema=parameter_schema(take_what_is_sure).model_dump(),
            enforce_parameter_schema=True,
        )
        yield str(deployment_id)
        client.delete_deployment(deployment_id)


@pytest.fixture
def service(webhook: AlertWebhook, tmp_path: Path) -> Iterator[Service]:
    assert webhook
    with running_service(tmp_path / "inbox.sqlite", tmp_path / "service.log") as running:
        yield running


def wait_for_runs(deployment_id: str, count: int, timeout_s: float = 120.0) -> list[FlowRun]:
    wait_for(f"{count} runs", lambda: len(runs_of(deployment_id)) >= count, timeout_s)
    time.sleep(0.5)  # one too many would come now
    runs = runs_of(deployment_id)
    assert len(runs) == count
    return runs


def events_of(run: FlowRun) -> list[dict[str, Any]]:
    """Give the events that are related to a run."""
    with get_client(sync_client=True) as client:
        wanted = {"event": {"prefix": ["videodb."]}, "any_resource": {"id": [f"prefect.flow-run.{run.id}"]}}
        answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 50})
        events: list[dict[str, Any]] = answer.json()["events"]
        return events
