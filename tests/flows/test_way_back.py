"""What a watch sees of its way back: the routes' deployments at Prefect, the receiver, the dispatcher behind it."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from pydantic import SecretStr

from prefect_videodb.blocks import AlertWebhook
from prefect_videodb.watching.looking import Found
from prefect_videodb.watching.models import Part
from prefect_videodb.watching.way_back import check_receiver, check_routes
from prefect_videodb.webhooks.rules import AlertRoute, Rules
from tests.support.receiver import Receiver, running_receiver

TOKEN = "token-0123456789-0123456789"
OLD = "older-0123456789-0123456789"
TAKES_ALERT = {"type": "object", "properties": {"alert": {"type": "object"}}}
RULES = Rules(token_digests=[], routes={"named": AlertRoute(deployment="follow/served")})


@pytest.fixture
def prefect(prefect_api: str) -> Iterator[SyncPrefectClient]:
    """Make a route that is served, with a worker; and others that are not."""
    assert prefect_api
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="way-back", type="process"))
        client.send_worker_heartbeat("way-back", "tests", heartbeat_interval_seconds=3600)
        flow_id = client.create_flow_from_name("follow")
        made = [
            client.create_deployment(
                flow_id, name, tags=tags, work_pool_name="way-back", paused=True, parameter_openapi_schema=TAKES_ALERT
            )
            for name, tags in (
                ("served", ["videodb-alerts:served", "videodb-alerts:twice"]),
                ("another", ["videodb-alerts:twice"]),
            )
        ]
        yield client
        for deployment in made:
            client.delete_deployment(deployment)
        client.delete_work_pool("way-back")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        running.token = TOKEN
        yield running


def webhook_at(url: str, **fields: Any) -> AlertWebhook:
    return AlertWebhook(base_url=url, token=SecretStr(TOKEN), **fields)


def texts(found: list[Found]) -> str:
    return " / ".join(f"{one.key} {one.text}: {one.advice}" for one in found)


def test_served_routes_are_in_order(prefect: SyncPrefectClient) -> None:
    """Also where the schedules of the deployment are paused: what an alert starts runs all the same."""
    assert check_routes(prefect, RULES, ["served", "named"]) == []


def test_unserved_routes_are_found(prefect: SyncPrefectClient) -> None:
    gone = Rules(token_digests=[], routes={"named": AlertRoute(deployment="follow/gone")})
    found = check_routes(prefect, gone, ["served", "none", "twice", "named"])
    assert [(one.part, one.subject) for one in found] == [(Part.ROUTE, route) for route in ("none", "twice", "named")]
    for text in ("no deployment carries the tag", "several deployments carry", "'follow/gone', which is not there"):
        assert text in texts(found)


def test_paused_work_pool_is_found(prefect: SyncPrefectClient) -> None:
    prefect.update_work_pool("way-back", WorkPoolUpdate(is_paused=True))
    assert "route:served served starts 'served', whose work pool 'way-back' is paused" in texts(
        check_routes(prefect, RULES, ["served"])
    )


def test_paused_work_queue_is_found(prefect: SyncPrefectClient) -> None:
    [queue] = prefect.read_work_queues(work_pool_name="way-back")
    prefect.update_work_queue(queue.id, is_paused=True)
    assert "whose work queue 'default' is paused" in texts(check_routes(prefect, RULES, ["served"]))


def test_flow_without_the_parameter_is_found(prefect: SyncPrefectClient) -> None:
    flow_id = prefect.create_flow_from_name("follow")
    schema = {"type": "object", "properties": {"message": {"type": "string"}}}
    deployment = prefect.create_deployment(
        flow_id, "deaf", tags=["videodb-alerts:deaf"], work_pool_name="way-back", parameter_openapi_schema=schema
    )
    found = check_routes(prefect, RULES, ["deaf"])
    prefect.delete_deployment(deployment)
    assert "starts 'deaf', whose flow takes no parameter `alert`" in texts(found)


def test_work_pool_without_a_worker_is_found(prefect: SyncPrefectClient) -> None:
    prefect.create_work_pool(WorkPoolCreate(name="way-back-alone", type="process"))
    flow_id = prefect.create_flow_from_name("follow")
    deployment = prefect.create_deployment(
        flow_id,
        "alone",
        tags=["videodb-alerts:alone"],
        work_pool_name="way-back-alone",
        parameter_openapi_schema=TAKES_ALERT,
    )
    found = check_routes(prefect, RULES, ["alone"])
    prefect.delete_deployment(deployment)
    prefect.delete_work_pool("way-back-alone")
    assert "no worker of the work pool 'way-back-alone' is online" in texts(found)


def test_healthy_receiver_is_in_order(receiver: Receiver) -> None:
    assert check_receiver(webhook_at(receiver.url.partition("/done")[0]), ["door"], is_public=False) == []


def test_unreachable_receiver_says_what_is_not_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    found = check_receiver(webhook_at(f"http://127.0.0.1:{port}"), ["door"], is_public=False)
    assert "cannot be reached from this worker (ConnectError)" in texts(found)
    assert "Whether VideoDB reaches it from the internet is not known" in texts(found)
    assert TOKEN not in texts(found)
    unchecked = webhook_at(f"http://127.0.0.1:{port}", check_receiver=False)
    assert check_receiver(unchecked, ["door"], is_public=False) == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://[::1]:1", "http://192.168.1.7", "http://localhost:1", "http://10.0.0.1/x"]
)
def test_private_address_is_found_where_the_service_is_public(url: str) -> None:
    assert "private address" in texts(check_receiver(webhook_at(url), ["door"], is_public=True))


def test_receiver_with_another_token_is_found(receiver: Receiver) -> None:
    receiver.token = "something else"
    webhook = webhook_at(receiver.url.partition("/done")[0], previous_token=SecretStr(OLD))
    assert "does not accept the token" in texts(check_receiver(webhook, ["door"], is_public=False))


def test_receiver_that_has_not_read_a_rotated_token_is_waited_for(receiver: Receiver) -> None:
    receiver.tokens_before = [OLD, OLD]
    webhook = webhook_at(receiver.url.partition("/done")[0], previous_token=SecretStr(OLD))
    assert check_receiver(webhook, ["door"], is_public=False) == []
    assert receiver.tokens_before == []


def test_address_that_is_no_receiver_is_found(receiver: Receiver) -> None:
    elsewhere = webhook_at(receiver.url.partition("/done")[0] + "/elsewhere")
    assert "answers 404, as no receiver does" in texts(check_receiver(elsewhere, ["door"], is_public=False))


def test_dispatcher_that_is_away_is_found(receiver: Receiver) -> None:
    receiver.health["dispatcher"] = "away"
    found = check_receiver(webhook_at(receiver.url.partition("/done")[0]), ["door"], is_public=False)
    assert [one.key for one in found] == ["receiver:dispatcher"]
    receiver.health["dispatcher"] = "unknown"  # an inbox in SQS
    assert check_receiver(webhook_at(receiver.url.partition("/done")[0]), ["door"], is_public=False) == []


def test_alerts_that_wait_are_found_by_their_route(receiver: Receiver) -> None:
    receiver.health["troubles"] = ["route other: x", "route door: Prefect answered 422", "route door-2: y"]
    found = check_receiver(webhook_at(receiver.url.partition("/done")[0]), ["door"], is_public=False)
    assert [(one.key, one.text) for one in found] == [("route:door", "door has alerts that wait: Prefect answered 422")]
