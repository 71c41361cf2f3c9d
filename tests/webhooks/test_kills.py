"""Thousands of alerts, some of them twice, while everything is killed at random: as many runs as alerts.

Some in the suite; `VIDEODB_ALERTS=10000` for the full number (`make soak`).
"""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from prefect_videodb.blocks import AlertWebhook
from prefect_videodb.webhooks.rules import AlertRoute
from tests.support.postgres import running_postgres
from tests.support.prefect_server import running_prefect_server, runs_of
from tests.support.processes import free_port, wait_for
from tests.webhooks.conftest import TOKEN, firing, running_service, take_alert

ALERTS = int(os.environ.get("VIDEODB_ALERTS", "150"))
DUPLICATES = ALERTS // 5


class Killed:
    """Something that is killed with SIGKILL now and then, and started again at the same place."""

    def __init__(self, start: Any) -> None:
        self._start = start
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self.kills = 0
        self.running: Any = None

    def start(self) -> None:
        with self._lock:
            self.running = self._stack.enter_context(self._start())

    def kill(self) -> None:
        with self._lock:
            process = getattr(self.running, "process", self.running)
            os.killpg(process.pid, signal.SIGKILL)
            self._stack.close()
            self.kills += 1
            self.running = self._stack.enter_context(self._start())

    def close(self) -> None:
        with self._lock:
            self._stack.close()


@pytest.fixture
def database() -> Iterator[str]:
    """Give a PostgreSQL: on SQLite, Prefect has no time left once it marks thousands of runs as late."""
    with running_postgres() as url:
        yield url


@pytest.mark.timeout(7200)
def test_as_many_runs_as_alerts_whatever_is_killed(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, inbox = tmp_path / "prefect", tmp_path / "inbox.sqlite"
    home.mkdir()
    prefect_port, port = free_port(), free_port()
    url = f"http://127.0.0.1:{prefect_port}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    prefect = Killed(lambda: running_prefect_server(home, prefect_port, database))
    receiver = Killed(lambda: running_service(inbox, tmp_path / "receiver.log", port=port, only="receiver"))
    dispatcher = Killed(lambda: running_service(inbox, tmp_path / "dispatcher.log", only="dispatcher"))
    everything = [prefect, receiver, dispatcher]
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            prefect.start()
            deployment = _prepare()
            receiver.start()
            dispatcher.start()
            ended = threading.Event()
            sent = threading.Event()
            killer = threading.Thread(target=_kill_now_and_then, args=(everything, sent, ended))
            killer.start()
            try:
                _send_all(port)
                sent.set()
                wait_for("half are dispatched", lambda: 0 <= _waiting(port) <= ALERTS // 2, 3600, 1.0)
            finally:
                ended.set()
                killer.join()
            wait_for("all are dispatched", lambda: _waiting(port) == 0, 1800, 1.0)
            # An event is sent once: what a killed Prefect had not written is gone, and none is there twice.
            assert _events() <= ALERTS
            identities = [run.idempotency_key for run in runs_of(deployment)]
        assert all(killed.kills for killed in everything)
        assert len(identities) == len(set(identities)) == ALERTS
    finally:
        for killed in (receiver, dispatcher, prefect):
            killed.close()


def _prepare() -> str:
    AlertWebhook(
        base_url="https://hooks.example", token=SecretStr(TOKEN), routes={"door": AlertRoute(per_minute=1_000_000)}
    ).save("default")
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(take_alert)
        return str(client.create_deployment(flow_id, "alerts", tags=["videodb-alerts:door"]))


def _send_all(port: int) -> None:
    """Post every alert until it is accepted, as a sender does that tries again; a fifth of them once more."""
    numbers = [*range(ALERTS), *random.sample(range(ALERTS), DUPLICATES)]
    random.shuffle(numbers)
    with ThreadPoolExecutor(16) as pool, httpx.Client(timeout=30.0) as client:
        list(pool.map(lambda number: _send(client, port, number), numbers))


def _send(client: httpx.Client, port: int, number: int) -> None:
    body = json.dumps(firing(number)).encode()
    url = f"http://127.0.0.1:{port}/videodb/door/{TOKEN}"
    for _ in range(600):
        try:
            if client.post(url, content=body, headers={"content-type": "application/json"}).is_success:
                time.sleep(0.05)  # long enough for kills to fall between
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(f"alert {number} was never accepted")


def _kill_now_and_then(everything: list[Killed], sent: threading.Event, ended: threading.Event) -> None:
    order = random.sample(everything, len(everything))  # each at least once
    while order or not ended.is_set():
        # What was sent is dispatched by who lives for longer than it takes to start.
        ended.wait(random.uniform(0.2, 2.0) * (10 if sent.is_set() else 1))  # noqa: S311 - a moment, no secret
        (order.pop() if order else random.choice(everything)).kill()  # noqa: S311 - the same


def _events() -> int:
    with get_client(sync_client=True) as client:
        wanted = {"event": {"prefix": ["videodb.alert."]}}
        return int(client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1}).json()["total"])


def _waiting(port: int) -> int:
    try:
        return int(httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30.0).json()["waiting"])
    except httpx.HTTPError:
        return -1
