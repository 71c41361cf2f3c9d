"""What an alert costs until it is accepted, and until its flow runs: our receiver against two plain ways, side by side.

    python benchmarks/alerts.py [--seconds 10] [--alerts 20]

The peers: (a) a FastAPI handler that creates the flow run before it answers; (b) Prefect's own event endpoint, and an
automation that runs the deployment. All stand before one Prefect server on PostgreSQL, which ours needs only
afterwards. A client in a process of its own posts alerts of the recorded shape, each another one, over 32 connections;
it shares the two cores with what it measures. `Accepted` counts answers of 2xx; of ours, what is on the disk is
counted, too. Two receivers share a port and an inbox.
Targets on 2 cores, for ours: 2,000 alerts/s; the 99th percentile below 50 ms at 500/s; running within 1 s, median.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
TOKEN = "bench-0123456789-abcdefghij"  # noqa: S105 - guards nothing
CONNECTIONS = 32
POOL = "bench"
OURS, FASTAPI, EVENTS = "ours", "FastAPI, run created inline", "Prefect's events and an automation"
OURS_TWICE = "ours, two receivers"


def alert(number: int) -> dict[str, Any]:
    """Give an alert of the recorded shape; each number is another moment."""
    start = 1_748_475_396.0 + 10 * number
    return {
        "event_id": "event-3adc40d26d6fed0d",
        "label": "door_opened",
        "confidence": 0.95,
        "explanation": "The door is open. Somebody came in and left a parcel on the table beside the window.",
        "timestamp": "2025-05-28T23:36:39.979133+00:00",
        "start_time": start,
        "end_time": start + 10,
        "stream_url": "https://rt.stream.videodb.io/manifests/rts-019711a0-0fde-7911-b282-25bc0b4ecf65/1-2.m3u8",
    }


def event(number: int) -> list[dict[str, Any]]:
    """Give the same as an event of Prefect."""
    resource = {"prefect.resource.id": "videodb.rtstream.bench"}
    occurred = datetime.now(UTC).isoformat()
    told = {"id": str(uuid4()), "event": "bench.alert", "resource": resource, "occurred": occurred}
    return [told | {"payload": alert(number), "related": []}]


# --- the client: `python benchmarks/alerts.py --client`, orders on standard input -------------------------------------


class Connection(asyncio.Protocol):
    """One connection that posts a body and waits for the answer."""

    def connection_made(self, transport: Any) -> None:
        """Begin with nothing read."""
        self.transport = transport
        self.read = b""
        self.answered: asyncio.Future[int] | None = None

    def data_received(self, data: bytes) -> None:
        """Take an answer that is whole."""
        self.read += data
        head, end, rest = self.read.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if end and len(rest) >= length and self.answered:
            self.read = b""
            self.answered.set_result(int(head[9:12]))

    async def post(self, request: bytes) -> int:
        """Give the status."""
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answered


async def load(url: str, kind: str, first: int, seconds: float, rate: float | None) -> dict[str, Any]:
    """Post as fast as answers come, or at a rate; give how many were accepted and how long each took."""
    parts = httpx.URL(url)
    port = parts.port or 80
    connections = [
        (await asyncio.get_running_loop().create_connection(Connection, parts.host, port))[1]
        for _ in range(CONNECTIONS)
    ]
    head = f"POST {parts.raw_path.decode()} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    make = event if kind == EVENTS else alert
    took: list[float] = []
    refused: list[int] = []
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    began = time.perf_counter()

    async def one(connection: Connection, number: int, due: float) -> None:
        body = json.dumps(make(number)).encode()
        status = await connection.post(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        took.append(time.perf_counter() - due)
        if not 200 <= status < 300:
            refused.append(status)
        free.put_nowait(connection)

    tasks = set()
    number = first
    while (now := time.perf_counter() - began) < seconds:
        due = began + (number - first) / rate if rate else began + now
        if (wait_s := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
        connection = await free.get()
        task = asyncio.create_task(one(connection, number, due if rate else time.perf_counter()))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    spent = time.perf_counter() - began
    took.sort()
    return {
        "accepted": len(took) - len(refused),
        "refused": len(refused),
        "per_s": (len(took) - len(refused)) / spent,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[int(len(took) * 0.99)],
    }


def posted(url: str, kind: str, first: int, seconds: float, rate: float | None = None) -> dict[str, Any]:
    """Post from a process of its own."""
    order = json.dumps([url, kind, first, seconds, rate])
    command = [sys.executable, __file__, "--client"]
    done = subprocess.run(command, input=order, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- the peers --------------------------------------------------------------------------------------------------------


def fastapi_handler() -> Any:
    """Give the plain way, for `uvicorn benchmarks.alerts:fastapi_handler --factory`."""
    from fastapi import FastAPI
    from prefect.client.orchestration import get_client

    application = FastAPI()
    client = get_client()

    @application.post("/{deployment}")
    async def take(deployment: str, body: dict[str, Any]) -> dict[str, str]:
        run = await client.create_flow_run_from_deployment(
            UUID(deployment),
            parameters={"alert": body},
            idempotency_key=str(body["start_time"]),
        )
        return {"id": str(run.id)}

    return application


def when(is_so: Callable[[], Any], what: str) -> Any:
    """Wait until something is there."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            if found := is_so():
                return found
        except (httpx.HTTPError, OSError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{what} did not come")


# --- what is measured -------------------------------------------------------------------------------------------------


def deploy(tag: str) -> str:
    """Deploy a flow that does nothing, for a worker that runs it in its own process."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        made = client.create_deployment(
            client.create_flow_from_name("bench"),
            name=f"bench-{tag}",
            entrypoint="benchmarks._nothing.nothing",
            work_pool_name=POOL,
            pull_steps=[],
            tags=[f"videodb-alerts:{tag}"],
            enforce_parameter_schema=False,
        )
        return str(made)


def automate(deployment: str) -> None:
    """Have Prefect run the deployment for each event."""
    from prefect.client.orchestration import get_client
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    trigger = EventTrigger(expect={"bench.alert"}, posture=Posture.Reactive, threshold=1)
    action = RunDeployment(
        source="selected", deployment_id=UUID(deployment), parameters={"alert": {}}, job_variables=None
    )
    with get_client(sync_client=True) as client:
        automation = AutomationCore(name="bench", trigger=trigger, actions=[action])
        body = automation.model_dump(mode="json", exclude_unset=True)
        client.request("POST", "/automations/", json=body).raise_for_status()


def running_after(deployment: str, post: Callable[[int], None], alerts: int) -> list[float]:
    """Give how long each alert took from its answer to its run's start, in seconds; one at a time."""
    from prefect.client.orchestration import get_client

    took = []
    with get_client(sync_client=True) as client:

        def begun() -> list[datetime]:
            body = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"start_time": {"is_null_": False}}}
            found = client.request("POST", "/flow_runs/filter", json=body | {"limit": 200}).json()
            return sorted(datetime.fromisoformat(run["start_time"]) for run in found)

        for number in range(alerts):
            count = len(begun())
            post(number)
            answered = datetime.now(UTC)
            when(lambda count=count: len(begun()) > count, "the run")  # type: ignore[misc]
            took.append((begun()[-1] - answered).total_seconds())
            time.sleep(0.37)  # no multiple of anybody's interval
    return took


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to post for each figure")
    parser.add_argument("--alerts", type=int, default=20, help="how many to follow until their flow runs")
    options = parser.parse_args()
    if options.client:
        print(json.dumps(asyncio.run(load(*json.loads(sys.stdin.read())))))
        return
    os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PREFECT_HOME"] = folder
        measure(Path(folder), options.seconds, options.alerts)


def measure(home: Path, seconds: float, alerts: int) -> None:
    """Measure everything against one Prefect server."""
    from tests.support.postgres import running_postgres
    from tests.support.prefect_server import running_prefect_server
    from tests.support.processes import free_port, stopped
    from tests.support.programs import spawn

    with running_postgres() as database, running_prefect_server(home, database=database) as server:
        os.environ["PREFECT_API_URL"] = server.url
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: server.url}):
            prepare()
            deployments = {kind: deploy(tag) for kind, tag in ((OURS, "a"), (FASTAPI, "b"), (EVENTS, "c"))}
            automate(deployments[EVENTS])
            port, plain = free_port(), free_port()
            inbox = home / "inbox.sqlite"
            urls = {
                OURS: f"http://127.0.0.1:{port}/videodb/a/{TOKEN}",
                FASTAPI: f"http://127.0.0.1:{plain}/{deployments[FASTAPI]}",
                EVENTS: f"{server.url}/events",
            }
            service = ["prefect_videodb.webhooks", "--webhook", "bench"]
            uvicorn = ["uvicorn", "--factory", "benchmarks.alerts:fastapi_handler", "--no-access-log"]
            with stopped(spawn(*uvicorn, "--port", str(plain), log=home / "plain.log")):
                when(lambda: httpx.get(f"http://127.0.0.1:{plain}/docs").is_success, "the plain handler")
                # First, while Prefect has nothing else to do.
                followed = [*service, "--inbox", str(home / "followed.sqlite"), "--port", str(port)]
                running(urls, deployments, home, followed, alerts)
                receiver = [*service, "--inbox", str(inbox), "--port", str(port), "--only", "receiver", "--share-port"]
                with stopped(spawn(*receiver, log=home / "receiver.log")):
                    when(lambda: httpx.get(f"http://127.0.0.1:{port}/healthz").is_success, "the receiver")
                    ours = accepting({OURS: urls[OURS]}, inbox, seconds, None)
                    with stopped(spawn(*receiver, log=home / "second.log")):
                        when(lambda: "received at" in (home / "second.log").read_text(), "the second receiver")
                        accepting({OURS_TWICE: urls[OURS]}, inbox, seconds, ours)
                accepting({kind: urls[kind] for kind in (FASTAPI, EVENTS)}, inbox, seconds, ours)


def prepare() -> None:
    """Save the block, make the work pool."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from pydantic import SecretStr

    from prefect_videodb.blocks import AlertWebhook
    from prefect_videodb.webhooks.rules import AlertRoute

    route = AlertRoute(per_minute=10_000_000)
    AlertWebhook(base_url="https://hooks.example", token=SecretStr(TOKEN), routes={"a": route}).save("bench")
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="videodb-in-process"))


def accepting(urls: dict[str, str], inbox: Path, seconds: float, ours: float | None) -> float:
    """Print how many alerts are accepted, and how soon at 500 a second; give how many of the first."""
    if ours is None:
        print(f"\n{os.cpu_count()} cores; accepted\n")
        print("| | alerts/s | to ours | p50, p99 of these | p50, p99 at 500/s |\n| --- | --- | --- | --- | --- |")
    for kind, url in urls.items():
        before = kept(inbox)
        fast = posted(url, kind, 10_000_000 if kind == OURS_TWICE else 0, seconds)
        told = ""
        if kind in {OURS, OURS_TWICE}:
            assert kept(inbox) - before == fast["accepted"], fast  # noqa: S101 - or nothing here is true
        ours = ours or fast["per_s"]
        if fast["per_s"] > 500:
            steady = posted(url, kind, 20_000_000 if kind == OURS_TWICE else 1_000_000, seconds, 500.0)
            told = f"{steady['p50_ms']:.1f}, {steady['p99_ms']:.1f} ms"
        print(
            f"| {kind} | {fast['per_s']:.0f} | {fast['per_s'] / ours:.2f} | "
            f"{fast['p50_ms']:.1f}, {fast['p99_ms']:.1f} ms | {told or 'never so many'} |"
            + (f" {fast['refused']} refused" if fast["refused"] else ""),
            flush=True,
        )
    return ours or 0.0


def kept(inbox: Path) -> int:
    """Count what is on the disk."""
    with closing(sqlite3.connect(f"file:{inbox}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM letters").fetchone()[0])


def running(urls: dict[str, str], deployments: dict[str, str], home: Path, service: list[str], alerts: int) -> None:
    """Print how soon after its answer an alert's flow runs."""
    from tests.support.processes import stopped
    from tests.support.programs import running_worker, spawn

    print("From the answer to the running flow, one alert at a time, a worker of type videodb-in-process\n")
    print("| | median | p90 | longest |\n| --- | --- | --- | --- |")
    with running_worker(home, POOL), stopped(spawn(*service, log=home / "service.log")):
        when(lambda: httpx.get(urls[OURS].partition("/videodb")[0] + "/healthz").is_success, "the service")
        time.sleep(20)  # the worker imports what it needs
        with httpx.Client(timeout=60.0) as client:
            for kind, url in urls.items():
                make = event if kind == EVENTS else alert

                def post(number: int, url: str = url, make: Any = make) -> None:
                    client.post(url, json=make(2_000_000 + number)).raise_for_status()

                took = sorted(running_after(deployments[kind], post, alerts))
                print(
                    f"| {kind} | {statistics.median(took):.2f} s | {took[int(len(took) * 0.9)]:.2f} s | "
                    f"{took[-1]:.2f} s |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
