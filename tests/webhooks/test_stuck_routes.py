"""Back-off, invented routes, rejected messages: what is stuck holds up nothing else. A real proxy counts requests."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import copy_context
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_videodb.webhooks.dispatch import Dispatcher
from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.mail import Letter
from prefect_videodb.webhooks.rules import AlertRoute, Rules
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.prefect_server import runs_of
from tests.support.processes import wait_for
from tests.webhooks.conftest import RECORDED, Service, firing, running_service, take_alert, wait_for_runs

CREATE = "/create_flow_run"
LIST = "/deployments/filter"


@pytest.fixture
def service(webhook: object, deployed: str, proxy: FaultyProxy, tmp_path: Path) -> Iterator[Service]:
    assert webhook
    assert deployed
    assert proxy
    with running_service(tmp_path / "inbox.sqlite", tmp_path / "service.log") as running:
        yield running


def requests(proxy: FaultyProxy, path: str) -> list[str]:
    return [line for line in proxy.seen if path in line]


def change(inbox: Path, statement: str) -> None:
    """Change what another process's inbox holds, as time would."""
    with closing(sqlite3.connect(inbox, timeout=30.0, isolation_level=None)) as database:
        database.execute(statement)


def test_backoff_is_reset_by_progress(service: Service, proxy: FaultyProxy, deployed: str) -> None:
    """With a pause that doubles at each failure, ten of them take two and a half minutes."""
    count = 40
    proxy.rules += [Rule("POST", f'{CREATE}.*"b{number}"', 503) for number in range(0, count, 4)]
    for number in range(count):
        assert service.post(firing(number, label=f"b{number}")).is_success
    runs = wait_for_runs(deployed, count, timeout_s=90)
    assert [run.parameters["alert"]["label"] for run in runs] == [f"b{number}" for number in range(count)]
    assert [rule.times for rule in proxy.rules] == [0] * 10


def test_backoff_doubles_while_there_is_no_progress(service: Service, proxy: FaultyProxy, deployed: str) -> None:
    proxy.rules.append(Rule("POST", CREATE, 503, times=6))
    assert service.post(RECORDED).is_success
    wait_for_runs(deployed, 1)
    pauses = [line.partition("tried again in ")[2] for line in service.log.read_text().splitlines() if " 503" in line]
    assert pauses == ["0.1 s", "0.2 s", "0.4 s", "0.8 s", "1.6 s", "3.2 s"]


def test_invented_routes_cost_no_request_each(
    service: Service, proxy: FaultyProxy, deployed: str, tmp_path: Path
) -> None:
    for number in range(400):
        assert service.post(firing(number), route=f"invented-{number}").is_success
    before = len(proxy.seen)
    assert service.post(RECORDED).is_success
    wait_for_runs(deployed, 1)
    wait_for("it is listed again", lambda: len(requests(proxy, LIST)) > 2)
    assert len(proxy.seen) - before < 40
    assert service.health()["waiting"] == 400
    assert "videodb-alerts:invented-" in str(service.health()["troubles"])
    assert tmp_path


def test_hanging_routes_hold_up_no_other(service: Service, proxy: FaultyProxy, deployed: str) -> None:
    """More of them than there are connections."""
    hanging = [f"hanging-{number}" for number in range(24)]
    with get_client(sync_client=True) as client:
        tags = [f"videodb-alerts:{route}" for route in hanging]
        deployment = client.create_deployment(client.create_flow(take_alert), "hanging", tags=tags)
    proxy.rules.append(Rule("POST", f"{CREATE}.*hanging-", "hang after", times=1000, hang_s=40))
    for number, route in enumerate(hanging):
        assert service.post(firing(number), route=route).is_success
    wait_for("they hang", lambda: proxy.rules[0].times < 1000)
    for number in range(10):
        assert service.post(firing(100 + number)).is_success
    wait_for("the others have runs", lambda: len(runs_of(deployed)) == 10, 35)
    with get_client(sync_client=True) as client:
        client.delete_deployment(deployment)


def test_new_messages_go_before_rejected_ones(service: Service, proxy: FaultyProxy, picky: str, tmp_path: Path) -> None:
    count = 60
    for number in range(count):
        assert service.post(firing(number, confidence=0.5), route="picky").is_success
    wait_for("each was refused", lambda: len(requests(proxy, CREATE)) >= count)
    proxy.rules.append(Rule("POST", f"{CREATE}.*0.5", "hang after", times=1000, hang_s=1.0))
    seen = len(requests(proxy, CREATE))
    change(tmp_path / "inbox.sqlite", "UPDATE letters SET try_at = 0")
    wait_for("they come round", lambda: len(requests(proxy, CREATE)) > seen)
    assert service.post(firing(count, confidence=0.99), route="picky").is_success
    wait_for_runs(picky, 1)
    tries = requests(proxy, CREATE)[seen:]
    assert next(at for at, line in enumerate(tries) if "0.99" in line) <= 4, tries


def test_rejected_message_becomes_dead_letter(service: Service, picky: str, tmp_path: Path) -> None:
    assert service.post(firing(1, confidence=0.5), route="picky").is_success
    wait_for("it is refused", lambda: service.health()["troubles"])
    change(tmp_path / "inbox.sqlite", "UPDATE letters SET received_at = received_at - 8 * 86400, try_at = 0")
    wait_for("it is given up", lambda: service.health()["dead_letters"] == 1)
    assert service.health()["waiting"] == 0
    assert runs_of(picky) == []


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with closing(Inbox(tmp_path / "dispatched.sqlite")) as opened:
        yield opened


@contextmanager
def dispatching(inbox: Inbox) -> Iterator[None]:
    """Dispatch in this process, without any grace."""
    rules = Rules(token_digests=[], routes={"described": AlertRoute()})
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    dispatcher = Dispatcher(inbox, lambda: rules, unserved_grace_s=0.0)
    context = copy_context()  # Prefect's settings of this test
    thread = threading.Thread(target=lambda: context.run(loop.run_until_complete, dispatcher.run(ended)))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def test_unserved_route_becomes_dead_letter(inbox: Inbox, deployed: str) -> None:
    """But not one that the block describes, or that several deployments serve: somebody set that up."""
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(take_alert)
        made = [client.create_deployment(flow_id, name, tags=["videodb-alerts:twice"]) for name in ("one", "two")]
    for route in ("invented", "described", "twice", "door"):
        inbox.put(Letter(f"{route}-{deployed}", route, "alert", {"label": route}, b"{}")).result()
    with dispatching(inbox):
        wait_for("two wait", lambda: inbox.backlog().dead_letters and inbox.backlog().waiting == 2)
    with get_client(sync_client=True) as client:
        for deployment in made:
            client.delete_deployment(deployment)
    [(_, dead)] = inbox.dead_letters()
    assert (dead.route, dead.body) == ("invented", b"{}")
    assert "no deployment carries the tag 'videodb-alerts:invented'" in dead.reason
    assert "then retry this one" in dead.reason
    assert sorted(one.route for one in inbox.unserved([], 9)) == ["described", "twice"]
    assert len(runs_of(deployed)) == 1


def test_nothing_is_given_up_while_prefect_is_away(
    inbox: Inbox, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prefect_api
    inbox.put(Letter("a", "invented", "alert", {"label": "a"}, b"{}")).result()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        with dispatching(inbox):
            wait_for("it is noted", lambda: "Prefect cannot be reached" in str(inbox.backlog().troubles))
    assert (inbox.backlog().waiting, inbox.backlog().dead_letters) == (1, 0)


def test_hanging_events_hold_up_no_run(service: Service, proxy: FaultyProxy, deployed: str) -> None:
    proxy.rules.append(Rule("POST", r"/api/events \[", "hang after", times=1, hang_s=60))
    for number in range(2):
        assert service.post(firing(number)).is_success
    wait_for_runs(deployed, 2, timeout_s=45)
    wait_for("nothing waits", lambda: service.health()["waiting"] == 0, 45)
