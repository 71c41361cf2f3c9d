"""From an accepted alert to one flow run, whatever happens to the service and to Prefect meanwhile."""

import json
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from prefect_videodb.blocks import AlertWebhook
from tests.support.prefect_server import runs_of
from tests.support.processes import wait_for
from tests.webhooks.conftest import (
    RECORDED,
    TOKEN,
    Service,
    events_of,
    firing,
    running_service,
    take_alert,
    wait_for_runs,
)


def test_an_alert_becomes_one_run_with_the_alert_as_its_parameter(service: Service, deployed: str) -> None:
    for _ in range(3):
        assert service.post(RECORDED).is_success
    [run] = wait_for_runs(deployed, 1)
    alert = run.parameters["alert"]
    assert alert["label"] == "door_opened"
    assert alert["rtstream_id"] == "rts-019711a0-0fde-7911-b282-25bc0b4ecf65"
    assert alert["route"] == "door"
    assert run.name.startswith("door_opened-")
    assert TOKEN not in run.model_dump_json()
    wait_for("nothing waits", lambda: service.health()["waiting"] == 0)
    event = _event(run)
    assert event["event"] == "videodb.alert.door_opened"
    assert event["resource"]["prefect.resource.id"] == f"videodb.rtstream.{alert['rtstream_id']}"


def test_alerts_within_the_cooldown_share_the_run_of_the_first(service: Service, deployed: str) -> None:
    for number in range(5):
        assert service.post(firing(number), route="quiet").is_success
    wait_for("nothing waits", lambda: service.health()["waiting"] == 0)
    [run] = wait_for_runs(deployed, 1)
    wait_for("each is an event of the run", lambda: len(events_of(run)) == 5)


def test_an_alert_of_a_route_that_starts_nothing_waits_and_says_what_is_missing(
    service: Service, deployed: str
) -> None:
    assert service.post(RECORDED, route="nowhere").is_success
    assert service.post(RECORDED, route="door").is_success  # the other route goes on
    wait_for_runs(deployed, 1)
    wait_for("it is told", lambda: "videodb-alerts:nowhere" in str(service.health()["troubles"]))
    with get_client(sync_client=True) as client:
        later = client.create_deployment(client.create_flow(take_alert), "later", tags=["videodb-alerts:nowhere"])
        wait_for_runs(str(later), 1)
        client.delete_deployment(later)


def test_what_prefect_refuses_waits_by_itself_and_the_others_go_on(service: Service, picky: str) -> None:
    for number in range(9):
        assert service.post(firing(number, confidence=0.5), route="picky").is_success
    assert service.post(firing(9, confidence=0.99), route="picky").is_success
    [run] = wait_for_runs(picky, 1)
    assert run.parameters["alert"]["confidence"] == 0.99
    wait_for("it is told", lambda: "does the flow take this parameter?" in str(service.health()["troubles"]))
    assert service.health()["waiting"] == 9


def test_a_refused_alert_leaves_its_place_in_the_cooldown_to_the_next(service: Service, picky: str) -> None:
    assert service.post(firing(0, confidence=0.5), route="picky-quiet").is_success
    wait_for("it is refused", lambda: service.health()["troubles"])
    for number in range(1, 4):
        assert service.post(firing(number, confidence=0.99), route="picky-quiet").is_success
    [run] = wait_for_runs(picky, 1)
    assert run.parameters["alert"]["start_time"] == firing(1)["start_time"]
    wait_for("the others are attached to it", lambda: len(events_of(run)) == 3)
    assert service.health()["waiting"] == 1


def test_an_alert_that_is_longer_than_prefect_takes_is_shortened(service: Service, deployed: str) -> None:
    long = RECORDED | {"explanation": "é" * 100_000, "more": {"x": "y" * 20_000}}
    assert service.post(json.dumps(long, ensure_ascii=False).encode()).is_success
    [run] = wait_for_runs(deployed, 1)
    alert = run.parameters["alert"]
    assert alert["explanation"].endswith("é …")
    assert alert["more"].endswith("y …")
    assert alert["event_id"] == RECORDED["event_id"]


def test_an_alert_is_related_to_the_run_that_asked_for_it(service: Service, deployed: str) -> None:
    watch = uuid4()
    alert = firing(77)  # its event is none that another test has told this Prefect
    assert service.post(alert, token=f"{TOKEN}/{watch}").json()["new"] is True
    assert service.post(alert).json()["new"] is False  # the same one, whoever asked for it
    [run] = wait_for_runs(deployed, 1)
    assert run.parameters["alert"]["flow_run_id"] == str(watch)
    related = {resource["prefect.resource.id"] for resource in _event(run)["related"]}
    assert f"prefect.flow-run.{watch}" in related


def test_what_was_accepted_while_prefect_was_away_is_dispatched_afterwards_in_order(
    webhook: AlertWebhook, deployed: str, prefect_url: str, tmp_path: Path, monkeypatch: Any
) -> None:
    assert webhook
    inbox, log = tmp_path / "inbox.sqlite", tmp_path / "log"
    with running_service(inbox, log):
        pass  # it has seen the block once
    nowhere = "http://127.0.0.1:9/api"
    with monkeypatch.context() as away:
        away.setenv("PREFECT_API_URL", nowhere)
        with running_service(inbox, log) as service:
            for number in range(20):
                assert service.post(firing(number, label=f"n{number:02}")).elapsed.total_seconds() < 5
            assert service.health()["waiting"] == 20
            wait_for("it says why", lambda: "Prefect cannot be reached" in str(service.health()["troubles"]), 20)
            assert runs_of(deployed) == []
    assert prefect_url
    with running_service(inbox, log) as service:
        runs = wait_for_runs(deployed, 20)
        assert [run.parameters["alert"]["label"] for run in runs] == [f"n{number:02}" for number in range(20)]


def test_a_terminated_service_ends_quickly_and_loses_nothing(
    webhook: AlertWebhook, deployed: str, tmp_path: Path
) -> None:
    assert webhook
    inbox, log = tmp_path / "inbox.sqlite", tmp_path / "log"
    with running_service(inbox, log) as service:
        for number in range(30):
            assert service.post(firing(number)).is_success
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    with running_service(inbox, log):
        wait_for_runs(deployed, 30)


def test_the_two_parts_run_apart_on_one_inbox(webhook: AlertWebhook, deployed: str, tmp_path: Path) -> None:
    assert webhook
    inbox = tmp_path / "inbox.sqlite"
    with (
        running_service(inbox, tmp_path / "dispatcher.log", only="dispatcher"),
        running_service(inbox, tmp_path / "receiver.log", only="receiver") as service,
    ):
        assert service.post(RECORDED).is_success
        wait_for_runs(deployed, 1)


def _event(run: FlowRun) -> dict[str, Any]:
    wait_for("the event is there", lambda: events_of(run))
    [event] = events_of(run)
    return event


def test_health_tells_no_secret(service: Service) -> None:
    assert service.post(RECORDED, route="nowhere").is_success
    wait_for("there is a trouble", lambda: service.health()["troubles"])
    answer = httpx.get(f"{service.base_url}/healthz")
    assert answer.is_success
    assert answer.json().keys() == {"waiting", "oldest_waits_s", "dead_letters"}
    assert TOKEN not in httpx.get(f"{service.base_url}/healthz/{TOKEN}").text
    assert httpx.get(f"{service.base_url}/healthz/not-the-token").status_code == 401
