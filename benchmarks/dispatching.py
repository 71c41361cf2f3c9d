"""What is stuck costs the others: the dispatcher undisturbed, and beside what holds up a naive one, side by side.

    python -m benchmarks.dispatching [--alerts 400] [--stuck 2000]

A Prefect server on PostgreSQL; between it and the service a proxy, also where nothing is disturbed. Two figures:

- how long `--alerts` queued alerts take when every fortieth creation of a run is refused once with 503, to how long
  they take without (target: 1.5 at most);
- how soon a good alert's run is made, from its answer until it is off the inbox, with nothing else, and with `--stuck`
  messages on invented routes, messages that Prefect refuses at each of their rounds, and health requests that hang up
  while 20,000 messages wait (target: within 1 s each time).
"""

import argparse
import os
import socket
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from prefect_videodb.blocks import AlertWebhook
from prefect_videodb.webhooks.rules import AlertRoute
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.postgres import running_postgres
from tests.support.prefect_server import running_prefect_server
from tests.support.processes import free_port, stopped
from tests.support.programs import spawn

TOKEN = "bench-0123456789-abcdefghij"  # noqa: S105 - guards nothing
GOOD, PICKY, WAITING = "good", "picky", "waiting"
EVERY = 40
FOLLOWED = 10


class Bench:
    """The service on an inbox of its own, and the proxy before Prefect."""

    def __init__(self, home: Path, url: str, proxy: Any) -> None:
        self.inbox, self.url, self.proxy = home, url, proxy
        self._http = httpx.Client(timeout=60.0)
        self._number = 0

    def post(self, route: str, **fields: Any) -> None:
        """Post the alert of another moment."""
        self._number += 1
        start = 1_748_475_396.0 + 10 * self._number
        body = {"event_id": "event-1", "label": "door", "start_time": start, "end_time": start + 10} | fields
        url = f"{self.url}/videodb/{route}/{TOKEN}"
        self._http.post(url, json=body).raise_for_status()

    def ask(self, statement: str, *values: Any) -> list[Any]:
        """Read or change what the inbox holds."""
        with closing(sqlite3.connect(self.inbox, timeout=60.0, isolation_level=None)) as database:
            return database.execute(statement, values).fetchall()

    def until(self, statement: str, *values: Any, timeout_s: float = 900.0) -> None:
        """Wait until a count is zero."""
        deadline = time.monotonic() + timeout_s
        while self.ask(statement, *values)[0][0]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"not so after {timeout_s:g} s: {statement}")
            time.sleep(0.1)

    def good(self) -> list[float]:
        """Return how long each of some good alerts takes from its answer until its run is made, in seconds."""
        took = []
        for _ in range(FOLLOWED):
            label = uuid4().hex
            self.post(GOOD, label=label)
            answered = time.time()
            mine = "FROM letters WHERE route = ? AND told LIKE ?"
            self.until(f"SELECT count(*) {mine} AND done_at IS NULL", GOOD, f"%{label}%")
            took.append(self.ask(f"SELECT done_at {mine}", GOOD, f"%{label}%")[0][0] - answered)
            time.sleep(0.3)
        return took


@contextmanager
def bench(home: Path, proxy: Any, name: str, *, only: str = "") -> Iterator[Bench]:
    """Run the service, or a part of it, on an inbox."""
    port, inbox = free_port(), home / f"{name}.sqlite"
    command = ["prefect_videodb.webhooks", "--webhook", "bench", "--inbox", str(inbox), "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with stopped(spawn(*command, *(["--only", only] if only else []), log=home / f"{name}{only}.log")):
        deadline = time.monotonic() + 120
        while only != "dispatcher":
            try:
                httpx.get(f"{url}/healthz").raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield Bench(inbox, url, proxy)


def queued(home: Path, proxy: Any, alerts: int, *, is_refused: bool) -> float:
    """Return how long queued alerts take, in seconds, from the start of the dispatcher."""
    name = "refused" if is_refused else "undisturbed"
    label = uuid4().hex
    with bench(home, proxy, name, only="receiver") as receiving:
        for number in range(alerts):
            receiving.post(GOOD, label=f"{label}-{number}-")
    if is_refused:
        proxy.rules += [Rule("POST", f"/create_flow_run.*{label}-{number}-", 503) for number in range(0, alerts, EVERY)]
    with bench(home, proxy, name, only="dispatcher") as dispatching:
        dispatching.until("SELECT count(*) = 0 FROM letters WHERE done_at IS NOT NULL")
        began = time.monotonic()
        dispatching.until("SELECT count(*) FROM letters WHERE done_at IS NULL")
        took = time.monotonic() - began
    assert all(rule.times == 0 for rule in proxy.rules), "not every refusal happened"  # noqa: S101 - or nothing is true
    proxy.rules.clear()
    return took


def hang_up(url: str, count: int) -> None:
    """Ask for the health, and do not wait for the answer."""
    address = httpx.URL(url)
    for _ in range(count):
        with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: bench\r\n\r\n")


def measure(home: Path, alerts: int, stuck: int) -> None:
    """Print both figures."""
    with running_postgres() as database, running_prefect_server(home, database=database) as server:

        def named(path: str, body: bytes) -> str:
            return f"{path} {body.decode()}"

        with FaultyProxy(server.url.removesuffix("/api"), named=named).running() as proxy:
            os.environ["PREFECT_API_URL"] = f"{proxy.url}/api"
            with temporary_settings({PREFECT_API_URL: server.url}):
                prepare()
            print(f"{os.cpu_count()} cores; {alerts} queued alerts\n\n| | took | to undisturbed |\n| --- | --- | --- |")
            plain = queued(home, proxy, alerts, is_refused=False)
            print(f"| undisturbed | {plain:.1f} s | 1.00 |", flush=True)
            refused = queued(home, proxy, alerts, is_refused=True)
            print(f"| every {EVERY}th creation refused once | {refused:.1f} s | {refused / plain:.2f} |", flush=True)
            print(f"\nFrom a good alert's answer to its run, {FOLLOWED} each\n")
            print("| beside | median | longest | longest to undisturbed |\n| --- | --- | --- | --- |")
            follow(home, proxy, stuck)


def follow(home: Path, proxy: Any, stuck: int) -> None:
    """Print how soon good alerts have their runs, beside each of what is stuck."""
    undisturbed: list[float] = []

    def row(beside: str, took: list[float]) -> None:
        undisturbed[:] = undisturbed or took
        ratio = max(took) / max(undisturbed)
        print(f"| {beside} | {statistics.median(took):.3f} s | {max(took):.3f} s | {ratio:.1f} |", flush=True)

    with bench(home, proxy, "nothing") as one:
        row("nothing else", one.good())
    with bench(home, proxy, "invented") as one:
        for number in range(stuck):
            one.post(f"invented-{number}")
        row(f"{stuck} messages on as many invented routes", one.good())
    with bench(home, proxy, "rejected") as one:
        for _ in range(stuck):
            one.post(PICKY, confidence=0.5)
        one.until("SELECT count(*) FROM letters WHERE route = ? AND refusals = 0", PICKY)
        for number in range(1, 4):
            one.ask("UPDATE letters SET try_at = 0 WHERE done_at IS NULL")
            row(f"{stuck} messages that Prefect refuses, round {number}", one.good())
    with bench(home, proxy, "health") as one:
        one.ask(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO letters "
            "(identity, route, kind, told, body, received_at) SELECT 'w' || i, ?, 'alert', '{}', x'', 1.7e9 FROM n",
            WAITING,
        )
        beside(lambda: hang_up(one.url, stuck), lambda: row(f"{stuck} health requests that hang up", one.good()))


def beside(act: Callable[[], None], measured: Callable[[], None]) -> None:
    """Measure while something else goes on."""
    thread = threading.Thread(target=act)
    thread.start()
    measured()
    thread.join()


def prepare() -> None:
    """Save the block; deploy what the routes start."""
    # The last one is known, and nothing serves it: what comes for it waits.
    routes = {route: AlertRoute(per_minute=10_000_000) for route in (GOOD, PICKY, WAITING)}
    AlertWebhook(base_url="https://hooks.example", token=SecretStr(TOKEN), routes=routes).save("bench")
    sure = {"type": "object", "properties": {"confidence": {"type": "number", "minimum": 0.9}}}
    schema = {"type": "object", "properties": {"alert": sure}, "required": ["alert"]}
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("bench")
        for route in (GOOD, PICKY):
            client.create_deployment(
                flow_id,
                route,
                tags=[f"videodb-alerts:{route}"],
                parameter_openapi_schema=schema if route == PICKY else None,
                enforce_parameter_schema=route == PICKY,
            )


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=400, help="how many are queued for the first figure")
    parser.add_argument("--stuck", type=int, default=2000, help="how much is stuck for the second")
    options = parser.parse_args()
    os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PREFECT_HOME"] = folder
        measure(Path(folder), options.alerts, options.stuck)


if __name__ == "__main__":
    main()
