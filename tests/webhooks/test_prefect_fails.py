"""Prefect answers 500 now and then: what is the letter's own, and what is not. A real proxy stands between."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun

from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.prefect_server import runs_of
from tests.support.processes import wait_for
from tests.webhooks.conftest import Service, events_of, firing, running_service, wait_for_runs

RUN, EVENT = r"/create_flow_run", r"/api/events \["


@pytest.fixture
def service(webhook: object, proxy: FaultyProxy, tmp_path: Path) -> Iterator[Service]:
    assert webhook
    assert proxy
    with running_service(tmp_path / "inbox.sqlite", tmp_path / "service.log") as running:
        yield running


def post(service: Service, first: int, count: int, route: str) -> None:
    for number in range(first, first + count):
        assert service.post(firing(number, label=f"n{number}"), route=route).is_success


def labels(runs: list[FlowRun]) -> list[str]:
    return [run.parameters["alert"]["label"] for run in runs]


def is_done(service: Service) -> None:
    wait_for("nothing waits", lambda: service.health()["waiting"] == 0)


def test_a_letter_over_which_prefect_failed_once_waits_and_nothing_overtakes_it(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules.append(Rule("POST", f"{RUN}.*n501", 500, times=2))
    post(service, 501, 4, "door")
    assert labels(wait_for_runs(deployed, 4)) == ["n501", "n502", "n503", "n504"]


def test_a_letter_over_which_prefect_fails_eight_times_in_a_row_holds_up_no_other(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules.append(Rule("POST", f"{RUN}.*n511", 500, times=1000))
    post(service, 511, 3, "door")
    assert labels(wait_for_runs(deployed, 2)) == ["n512", "n513"]
    tries = [line for line in proxy.seen if "create_flow_run" in line]
    assert ["n511" in line for line in tries[:10]] == [True] * 8 + [False] * 2
    assert service.health()["waiting"] == 1


def test_while_the_deployment_cannot_be_read_either_no_letter_is_to_blame(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules.append(Rule("POST", RUN, 500, times=1000))
    proxy.rules.append(Rule("GET", f"/deployments/{deployed}", 500, times=1000))
    post(service, 521, 2, "door")
    wait_for("it was tried nine times", lambda: proxy.rules[1].times <= 1000 - 9)
    assert runs_of(deployed) == []
    proxy.rules.clear()
    assert labels(wait_for_runs(deployed, 2)) == ["n521", "n522"]


def test_event_is_sent_once(service: Service, proxy: FaultyProxy, deployed: str) -> None:
    """What Prefect answers to it neither holds up its run, nor makes a second one within a cooldown."""
    proxy.rules.append(Rule("POST", f"{EVENT}.*n532", 500, times=1000))
    post(service, 531, 3, "quiet")
    is_done(service)
    [run] = wait_for_runs(deployed, 1)
    assert labels([run]) == ["n531"]
    assert 1000 - proxy.rules[0].times == 1
    assert "the run goes without" in service.log.read_text()
    there = ["videodb.alert.n531", "videodb.alert.n533"]
    wait_for("the others are there", lambda: sorted(one["event"] for one in events_of(run)) == there)


def test_a_letter_whose_run_is_there_leaves_its_place_to_no_other_though_prefect_refuses_it_then(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules += [Rule("POST", f"{RUN}.*n551", "cut after"), Rule("POST", f"{RUN}.*n551", 422, times=1000)]
    post(service, 551, 3, "quiet")
    is_done(service)
    [run] = wait_for_runs(deployed, 1)
    assert labels([run]) == ["n551"]
    wait_for("each is an event of the run", lambda: len(events_of(run)) == 3)
