"""The service on a queue: from an accepted alert to one flow run, whatever is killed, wherever the parts run."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_videodb.blocks import AlertWebhook
from prefect_videodb.webhooks.rules import AlertRoute
from tests.support.prefect_server import runs_of
from tests.support.processes import wait_for
from tests.webhooks.conftest import (
    RECORDED,
    TOKEN,
    Queues,
    Service,
    events_of,
    firing,
    running_service,
    wait_for_runs,
)
from tests.webhooks.test_mailbox import run_letters
from tests.webhooks.test_sqs import from_front_end


@pytest.fixture
def service(webhook: AlertWebhook, queues: Queues, tmp_path: Path) -> Iterator[Service]:
    assert webhook
    with running_service(queues, tmp_path / "service.log") as running:
        yield running


def is_done(service: Service) -> None:
    wait_for("nothing waits", lambda: service.health()["waiting"] == 0)


def test_an_alert_becomes_one_run_by_whatever_way_and_however_often_it_comes(
    service: Service, queues: Queues, deployed: str
) -> None:
    for _ in range(3):
        assert service.post(RECORDED).json() == {"accepted": True, "new": None}
    from_front_end(queues, json.dumps(RECORDED), token=TOKEN)
    from_front_end(queues, json.dumps(RECORDED | {"label": "forged"}), token=TOKEN + "x")
    [run] = wait_for_runs(deployed, 1)
    assert run.parameters["alert"]["label"] == "door_opened"
    assert TOKEN not in run.model_dump_json()
    is_done(service)
    assert service.health()["dead_letters"] == 1
    assert len(runs_of(deployed)) == 1
    assert TOKEN not in service.log.read_text()


def test_alerts_within_the_cooldown_share_the_run_of_the_first(service: Service, deployed: str) -> None:
    assert service.post(firing(0)).is_success  # the same deployment by another route: no run to be attached to
    wait_for_runs(deployed, 1)
    first, *others = (firing(number) for number in range(101, 106))  # whose events no other test has told this Prefect
    for alert in (first, *others):
        assert service.post(alert, route="quiet").is_success
    is_done(service)
    run = wait_for_runs(deployed, 2)[-1]
    assert run.parameters["alert"]["start_time"] == first["start_time"]
    wait_for("each is an event of the run", lambda: len(events_of(run)) == 5)


def test_an_attached_alert_that_comes_again_after_the_cooldown_starts_nothing(
    webhook: AlertWebhook, queues: Queues, deployed: str, tmp_path: Path
) -> None:
    alerts = [firing(number) for number in (201, 202)]  # whose events this Prefect has not
    with running_service(queues, tmp_path / "log") as service:
        for alert in alerts:
            assert service.post(alert, route="quiet").is_success
        is_done(service)
        [run] = wait_for_runs(deployed, 1)
        wait_for("each is an event of the run", lambda: len(events_of(run)) == 2)
    webhook.routes["quiet"] = AlertRoute(cooldown_s=0.5)
    webhook.save("default", overwrite=True)
    time.sleep(1.0)
    with running_service(queues, tmp_path / "log") as service:
        for alert in alerts:
            from_front_end(queues, json.dumps(alert), "quiet", token=TOKEN)
        wait_for("they are there", lambda: service.health()["waiting"] == 0)
        from_front_end(queues, json.dumps(firing(203)), "quiet", token=TOKEN)  # taken after them
        assert _starts(wait_for_runs(deployed, 2)) == [alerts[0]["start_time"], firing(203)["start_time"]]


def test_a_refused_alert_is_a_dead_letter_and_the_next_takes_its_place_in_the_cooldown(
    service: Service, queues: Queues, picky: str
) -> None:
    first, *others = (firing(number) for number in range(301, 305))  # whose events this Prefect has not
    assert service.post(first | {"confidence": 0.5}, route="picky-quiet").is_success
    for alert in others:
        assert service.post(alert | {"confidence": 0.99}, route="picky-quiet").is_success
    [run] = wait_for_runs(picky, 1)
    assert run.parameters["alert"]["start_time"] == others[0]["start_time"]
    is_done(service)
    shown = run_letters(*queues.options()).stdout
    assert "1 dead letters" in shown
    assert "does the flow take this parameter?" in shown
    assert '"confidence": 0.5' in shown


def test_a_route_that_starts_nothing_holds_up_no_other_and_says_what_is_missing(
    service: Service, deployed: str
) -> None:
    assert service.post(RECORDED, route="nowhere").is_success
    assert service.post(RECORDED, route="door").is_success
    wait_for_runs(deployed, 1)
    wait_for("it is told", lambda: "videodb-alerts:nowhere" in str(service.health()["troubles"]))
    health = service.health()
    assert (health["waiting"], health["oldest_waits_s"]) == (1, None)


def test_two_dispatchers_share_the_work_and_when_one_is_killed_the_other_goes_on_in_order(
    webhook: AlertWebhook, queues: Queues, deployed: str, tmp_path: Path
) -> None:
    assert webhook
    with (
        running_service(queues, tmp_path / "receiver.log", only="receiver") as service,
        running_service(queues, tmp_path / "first.log", only="dispatcher") as first,
    ):
        for number in range(40):
            assert service.post(firing(number)).is_success
        wait_for("it has begun", lambda: runs_of(deployed))
        os.killpg(first.pid, signal.SIGKILL)
        with (
            running_service(queues, tmp_path / "second.log", only="dispatcher"),
            running_service(queues, tmp_path / "third.log", only="dispatcher"),
        ):
            assert _starts(wait_for_runs(deployed, 40)) == [firing(number)["start_time"] for number in range(40)]
            is_done(service)


def test_a_terminated_service_gives_back_what_it_had_in_hand(
    webhook: AlertWebhook, queues: Queues, deployed: str, tmp_path: Path
) -> None:
    assert webhook
    with running_service(queues, tmp_path / "log") as service:
        for number in range(30):
            assert service.post(firing(number)).is_success
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    with running_service(queues, tmp_path / "log"):
        assert _starts(wait_for_runs(deployed, 30)) == [firing(number)["start_time"] for number in range(30)]


def test_what_the_queue_does_not_take_is_refused_so_that_it_is_sent_again(service: Service, queues: Queues) -> None:
    queues.sqs.delete_queue(QueueUrl=queues.url)
    answer = service.post(RECORDED)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    wait_for("it says so", lambda: httpx.get(f"{service.base_url}/healthz").status_code == 503)
    assert service.process.poll() is None


def test_what_is_longer_than_the_queue_takes_is_refused_for_good(
    webhook: AlertWebhook, queues: Queues, tmp_path: Path
) -> None:
    assert webhook
    queues.sqs.set_queue_attributes(QueueUrl=queues.url, Attributes={"MaximumMessageSize": "2048"})
    with running_service(queues, tmp_path / "log", only="receiver") as service:
        assert service.post(RECORDED | {"explanation": "x" * 3000}).status_code == 413
        assert service.post(RECORDED).status_code == 200


def _starts(runs: list[Any]) -> list[float]:
    return [run.parameters["alert"]["start_time"] for run in runs]
