"""Prefect answers 500 now and then: what is the letter's own, and what is not. A real proxy stands between."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun

from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.prefect_server import runs_of
from tests.support.processes import wait_for
from tests.webhooks.conftest import Service, events_of, firing, make_older, running_service, wait_for_runs

RUN, EVENT = r"/create_flow_run", r"/api/events \["


@pytest.fixture
def proxy(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    def named(path: str, body: bytes) -> str:
        return f"{path} {body.decode()}"

    with FaultyProxy(prefect_api.removesuffix("/api"), named=named).running() as running:
        monkeypatch.setenv("PREFECT_API_URL", f"{running.url}/api")
        yield running


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


def test_a_letter_over_which_prefect_fails_six_times_in_a_row_holds_up_no_other(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules.append(Rule("POST", f"{RUN}.*n511", 500, times=1000))
    post(service, 511, 3, "door")
    assert labels(wait_for_runs(deployed, 2)) == ["n512", "n513"]
    tries = [line for line in proxy.seen if "create_flow_run" in line]
    assert ["n511" in line for line in tries[:8]] == [True] * 6 + [False] * 2
    assert service.health()["waiting"] == 1


def test_while_the_deployment_cannot_be_read_either_no_letter_is_to_blame(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules.append(Rule("POST", RUN, 500, times=1000))
    proxy.rules.append(Rule("POST", "/deployments/filter", 500, times=1000, skip=1))
    post(service, 521, 2, "door")
    # Once with the first try, twice with each other.
    wait_for("it was tried six times", lambda: proxy.rules[1].times <= 1000 - 11)
    assert runs_of(deployed) == []
    proxy.rules.clear()
    assert labels(wait_for_runs(deployed, 2)) == ["n521", "n522"]


def test_what_fails_over_an_event_makes_no_second_run_within_a_cooldown(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules.append(Rule("POST", EVENT, 500, times=3))
    post(service, 531, 3, "quiet")
    is_done(service)
    [run] = wait_for_runs(deployed, 1)
    wait_for("each is an event of the run", lambda: len(events_of(run)) == 3)


def test_an_event_over_which_prefect_fails_six_times_is_left_out(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules.append(Rule("POST", f"{EVENT}.*n541", 500, times=1000))
    post(service, 541, 2, "quiet")
    is_done(service)
    [run] = wait_for_runs(deployed, 1)
    assert labels([run]) == ["n541"]
    assert 1000 - proxy.rules[0].times == 6
    assert "to an event whose run is there" in service.log.read_text()
    wait_for("the other event is there", lambda: [one["event"] for one in events_of(run)] == ["videodb.alert.n542"])


def test_an_event_that_prefect_took_and_never_wrote_is_told_again(
    service: Service, proxy: FaultyProxy, deployed: str, tmp_path: Path
) -> None:
    """As after a kill of the Prefect server: what it takes it writes some seconds later."""
    proxy.rules += [Rule("POST", f"{EVENT}.*n562", 200), Rule("POST", f"{EVENT}.*n563", 200, times=1000)]
    post(service, 561, 3, "quiet")
    is_done(service)
    [run] = wait_for_runs(deployed, 1)
    there = ["videodb.alert.n561", "videodb.alert.n562"]
    wait_for("nothing more is to be told", lambda: make_older(tmp_path / "inbox.sqlite") == 0)
    wait_for("both are there", lambda: sorted(one["event"] for one in events_of(run)) == there)
    assert 1000 - proxy.rules[1].times == 6
    assert "Prefect took an event 6 times and has none" in service.log.read_text()


def test_a_letter_whose_run_is_there_leaves_its_place_to_no_other_though_prefect_refuses_it_then(
    service: Service, proxy: FaultyProxy, deployed: str
) -> None:
    proxy.rules += [Rule("POST", f"{RUN}.*n551", "cut after"), Rule("POST", f"{RUN}.*n551", 422, times=1000)]
    post(service, 551, 3, "quiet")
    is_done(service)
    [run] = wait_for_runs(deployed, 1)
    assert labels([run]) == ["n551"]
    wait_for("each is an event of the run", lambda: len(events_of(run)) == 3)
