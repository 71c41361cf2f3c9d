"""A watch: everything once, kept alive, parked between its looks, and nothing left behind however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling
from pydantic import SecretStr

import prefect_videodb.local_server
from prefect_videodb.blocks import AlertWebhook, RTStreamSource
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.flows import stop_orphaned_streams, watch_stream
from prefect_videodb.watching.life import WATCHING
from prefect_videodb.watching.models import StreamWatch, Watch
from tests.flows.conftest import KEY, Account, Run
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.processes import ROOT, free_port, stopped, wait_for
from tests.support.programs import running_workers
from tests.support.receiver import Receiver, running_receiver

DEPLOYMENT = "watch-stream/watch-stream"
HOLDING: dict[str, Any] = {"hold_process": True}
SEEN = {"label": "agenda", "prompt": "The agenda is on the screen", "kind": "visual", "batch_s": 2}
SAID = {"label": "budget", "prompt": "The budget is mentioned", "kind": "audio", "batch_s": 5}
WATCHES = [SEEN, SAID]
PARKING: dict[str, Any] = {"look_every_minutes": 1.0}
TOKEN = "token-0123456789-0123456789"


class Service:
    """The local server, as a test looks at it and as other people use it: past the proxy, with plain HTTP."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, headers={"x-access-token": KEY}, timeout=30.0)

    def indexes(self, rtstream_id: str) -> list[dict[str, Any]]:
        return self._get(f"/rtstream/{rtstream_id}/index/scene")["scene_indexes"]

    def alerts(self, rtstream_id: str) -> list[dict[str, Any]]:
        return [
            alert
            for index in self.indexes(rtstream_id)
            for alert in self._get(f"/rtstream/{rtstream_id}/index/{index['rtstream_index_id']}/alert")["alerts"]
        ]

    def events(self, label: str) -> list[dict[str, Any]]:
        return [event for event in self._get("/rtstream/event")["events"] if event["label"] == label]

    def stop_index(self, rtstream_id: str, index: dict[str, Any]) -> None:
        where = f"/rtstream/{rtstream_id}/index/scene/{index['rtstream_index_id']}/status"
        self._http.patch(where, json={"action": "stop"}).raise_for_status()

    def disable(self, rtstream_id: str, alert: dict[str, Any]) -> None:
        for index in self.indexes(rtstream_id):
            where = f"/rtstream/{rtstream_id}/index/{index['rtstream_index_id']}/alert/{alert['alert_id']}/status"
            self._http.patch(where, json={"action": "disable"})

    def stop(self, rtstream_id: str) -> None:
        self._http.patch(f"/rtstream/{rtstream_id}/status", json={"action": "stop"}).raise_for_status()

    def _get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()["data"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture
def service(account: Account, receiver: Receiver) -> Service:
    """Save the webhook's block beside the others, and be the worker of the route's deployment."""
    save_webhook(receiver, TOKEN)
    be_online("meetings")
    return Service(account.base_url)


def be_online(pool: str) -> None:
    """Give a work pool a worker that Prefect takes for alive."""
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):  # it is deployed in the tests that need it
        client.send_worker_heartbeat(pool, "tests", heartbeat_interval_seconds=3600)


def save_webhook(receiver: Receiver, token: str) -> None:
    receiver.token = token
    AlertWebhook(base_url=receiver.url.partition("/done")[0], token=SecretStr(token)).save("default", overwrite=True)


def report(run: Run) -> str:
    """Give the latest version of the run's artifact."""
    with get_client(sync_client=True) as client:
        body = {"artifacts": {"flow_run_id": {"any_": [str(run.id)]}, "key": {"any_": ["stream-watch"]}}}
        answer = client.request("POST", "/artifacts/filter", json=body)
    return str(max(answer.json(), key=lambda artifact: artifact["created"])["data"])


def the_stream(account: Account, run: Run, status: str = "connected") -> str:
    [stream] = account.streams(str(run.id))
    assert stream["status"] == status
    return str(stream["id"])


def nothing_is_left(account: Account, service: Service, run: Run) -> None:
    rtstream_id = the_stream(account, run, "stopped")
    assert {index["status"] for index in service.indexes(rtstream_id)} <= {"stopped"}
    assert {alert["status"] for alert in service.alerts(rtstream_id)} <= {"disabled"}


def everything_is_there_once(service: Service, rtstream_id: str, said: str = "budget") -> None:
    assert sorted(index["extraction_type"] for index in service.indexes(rtstream_id)) == ["time", "transcript"]
    assert {index["status"] for index in service.indexes(rtstream_id)} == {"running"}
    assert sorted(alert["label"] for alert in service.alerts(rtstream_id)) == ["agenda", said]
    assert {alert["status"] for alert in service.alerts(rtstream_id)} == {"enabled"}
    assert len(service.events("agenda")) == len(service.events(said)) == 1


def result_of(run: Run) -> StreamWatch:
    state = run.read().state
    assert state is not None
    assert state.is_completed(), f"{state}\n{run.logs()}"
    result = state.result(_sync=True)  # type: ignore[call-arg]
    assert isinstance(result, StreamWatch)
    return result


def is_parked(run: Run) -> bool:
    state = run.read().state
    return state is not None and state.is_scheduled() and state.name == WATCHING


def look_once(run: Run) -> None:
    """Execute once, as a worker does: the process looks, and ends."""
    with stopped(run.execute()) as process:
        assert process.wait(120) == 0
    assert is_parked(run), f"{run.read().state}\n{run.logs()}"


def cancel(run: Run) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelled(), force=True)


def test_a_watch_sets_everything_up_once_parks_and_ends_on_time(
    account: Account, deployed: str, service: Service, receiver: Receiver
) -> None:
    assert deployed
    end = datetime.now(UTC) + timedelta(seconds=75)
    run = Run.of(DEPLOYMENT, watches=WATCHES, end_time=end.isoformat(), look_every_minutes=0.6)
    look_once(run)
    rtstream_id = the_stream(account, run)
    everything_is_there_once(service, rtstream_id)
    assert receiver.take()["label"] in {"agenda", "budget"}
    shown = report(run)
    assert "The agenda is on the screen" in shown
    assert "Nothing was amiss" in shown
    while run.read().state.is_scheduled():  # type: ignore[union-attr]
        with stopped(run.execute()) as process:  # as a worker that looked ahead: it waits for the moment inside
            assert process.wait(120) == 0
    watch = result_of(run)
    assert watch.ended_by == "end time"
    assert watch.rtstream_id == rtstream_id
    assert not watch.adopted
    assert watch.troubles == []
    assert watch.end >= end
    nothing_is_left(account, service, run)
    assert TOKEN not in run.logs() + str(run.read()) + str(run.artifacts())


def test_what_stopped_is_started_again_and_told(account: Account, deployed: str, service: Service) -> None:
    assert deployed
    run = Run.of(DEPLOYMENT, watches=WATCHES, **PARKING)
    look_once(run)
    rtstream_id = the_stream(account, run)
    [index, _] = service.indexes(rtstream_id)
    [_, alert] = service.alerts(rtstream_id)
    service.stop_index(rtstream_id, index)
    service.disable(rtstream_id, alert)
    look_now(run)
    everything_is_there_once(service, rtstream_id)
    shown = report(run)
    assert "made to run again" in shown
    assert "put right" in shown

    service.stop(rtstream_id)
    look_now(run)
    assert the_stream(account, run) == rtstream_id
    everything_is_there_once(service, rtstream_id)
    assert "connected again" in report(run)
    assert "is stopped" in run.logs()
    cancel(run)
    stop_orphaned_streams("default")
    nothing_is_left(account, service, run)


def look_now(run: Run) -> None:
    """Let the next look be now."""
    run.schedule_again()
    look_once(run)


@pytest.mark.parametrize("path", [r"/rtstream$", r"/rtstream/event$", r"/index/scene$", r"/alert$"])
def test_a_watch_killed_while_it_makes_something_makes_it_once(
    account: Account, deployed: str, service: Service, proxy: FaultyProxy, path: str
) -> None:
    """Killed after the service has made it, and before the watch knows."""
    assert deployed
    proxy.rules = [Rule("POST", path, "hang after")]
    # Events belong to the account: one of an earlier test would be adopted.
    unheard_of = SAID | {"label": f"budget {path}"}
    run = Run.of(DEPLOYMENT, watches=[SEEN, unheard_of], **PARKING)
    with stopped(run.execute()) as process:
        wait_for("it is asked for", lambda: proxy.rules[0].times == 0)
        time.sleep(1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    proxy.rules = []
    look_now(run)
    everything_is_there_once(service, the_stream(account, run), said=unheard_of["label"])
    with get_client(sync_client=True) as client:
        client.delete_flow_run(run.id)
    stop_orphaned_streams("default")
    nothing_is_left(account, service, run)


def test_a_new_token_takes_the_place_of_the_old(
    account: Account, deployed: str, service: Service, receiver: Receiver
) -> None:
    assert deployed
    run = Run.of(DEPLOYMENT, watches=[SAID], **PARKING)
    look_once(run)
    rtstream_id = the_stream(account, run)
    save_webhook(receiver, "another-" + TOKEN)
    look_now(run)
    urls = {alert["status"]: alert["callback_url"] for alert in service.alerts(rtstream_id)}
    assert "another-" in urls["enabled"]
    assert "another-" not in urls["disabled"]
    assert TOKEN not in str(run.artifacts()) + run.logs()
    cancel(run)
    stop_orphaned_streams("default")


def test_broken_way_back_is_told_once_and_when_it_is_over(
    account: Account, deployed: str, service: Service, receiver: Receiver
) -> None:
    """Neither a route that no deployment serves nor a receiver that is away is called in order."""
    assert account
    assert deployed
    assert service
    receiver.token = "not the token"
    run = Run.of(DEPLOYMENT, watches=[SAID | {"route": "nobody"}], **PARKING)
    look_once(run)
    message = str(run.read().state.message)  # type: ignore[union-attr]
    for shown in (report(run), run.logs(), message):
        assert "nobody starts nothing: no deployment carries the tag" in shown.replace("\\", "")
        assert "does not accept the token of the AlertWebhook block" in shown
    assert "Nothing was amiss" not in report(run)
    look_now(run)
    assert sum(line.startswith("The route nobody starts nothing") for line in run.logs().splitlines()) == 1
    assert "nobody starts nothing" in str(run.read().state.message)  # type: ignore[union-attr]

    receiver.token = TOKEN
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("follows-up")
        deployment = client.create_deployment(
            flow_id,
            "nobody-no-more",
            tags=["videodb-alerts:nobody"],
            work_pool_name="meetings",
            parameter_openapi_schema={"type": "object", "properties": {"alert": {"type": "object"}}},
        )
        look_now(run)
        client.delete_deployment(deployment)
    assert "nobody is in order again" in report(run)
    assert "The receiver is in order again" in run.logs()
    assert "Not in order" not in report(run)
    assert "starts nothing" not in str(run.read().state.message)  # type: ignore[union-attr]
    assert TOKEN not in run.logs() + str(run.read()) + str(run.artifacts())
    cancel(run)
    stop_orphaned_streams("default")


def test_an_adopted_stream_is_left_as_it_was(account: Account, deployed: str, service: Service) -> None:
    assert deployed
    rtstream_id = account.connect("Somebody's camera")
    ended, cancelled = (
        Run.of(DEPLOYMENT, source=None, rtstream_id=rtstream_id, watches=[SEEN], **PARKING) for _ in range(2)
    )
    look_once(ended)
    look_once(cancelled)
    assert len(service.indexes(rtstream_id)) == 2
    cancel(cancelled)
    stop_orphaned_streams("default")
    assert sorted(index["status"] for index in service.indexes(rtstream_id)) == ["running", "stopped"]
    assert [stream["status"] for stream in account.streams("Somebody's camera")] == ["connected"]
    service.stop(rtstream_id)
    ended.schedule_again()
    ended.finish()
    watch = result_of(ended)
    assert watch.ended_by == "stream stopped"
    assert watch.adopted
    assert {index["status"] for index in service.indexes(rtstream_id)} == {"stopped"}
    assert {alert["status"] for alert in service.alerts(rtstream_id)} == {"disabled"}


def test_a_source_that_dies_is_told_once_and_connected_anew_until_it_is_back(
    account: Account, deployed: str, service: Service
) -> None:
    assert deployed
    port = free_port()
    media = Path(prefect_videodb.local_server.__file__).parent / "assets" / "sample_meeting.mp4"
    with camera(media, port) as url:
        RTStreamSource(url=SecretStr(url), name="Camera").save("camera", overwrite=True)
        options = HOLDING | {"reconnect_after_minutes": 8 / 60}
        run = Run.of(DEPLOYMENT, source="camera", watches=[SEEN], look_every_minutes=1 / 60, options=options)
        watching = run.execute()
        run.wait_for_label("videodb.in_order_at")
    with stopped(watching):
        wait_for("the source is missed", lambda: run.read().labels.get("videodb.standing") == "source")
        run.wait_for_label("videodb.reconnected_at")
        service.stop(the_stream(account, run))
        wait_for("the stopped stream is told", lambda: "is stopped" in report(run))
        assert "is in order again" not in report(run)
        with camera(media, port):
            wait_for("it is back", lambda: run.read().labels.get("videodb.standing") == "")
            shown = report(run)
            watching.send_signal(signal.SIGTERM)
            watching.wait(60)
    assert shown.count("shows nothing since") == 1
    assert shown.count("is stopped") == 1
    assert shown.count("is in order again") == 1
    nothing_is_left(account, service, run)


@contextmanager
def camera(media: Path, port: int) -> Iterator[str]:
    """Play a file as a camera does, in a process of its own."""
    command = [sys.executable, "-m", "tests.support.publisher", str(media), str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with stopped(process):
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


@pytest.mark.parametrize("when", ["while it looks", "while it is parked"])
def test_under_a_worker_a_cancelled_watch_leaves_nothing(
    account: Account, deployed: str, service: Service, tmp_path: Path, when: str
) -> None:
    assert deployed
    options = HOLDING if when == "while it looks" else {}
    with running_workers(tmp_path):
        run = Run.of(DEPLOYMENT, watches=WATCHES, look_every_minutes=5.0, options=options)
        run.wait_for_label("videodb.in_order_at")
        if when == "while it is parked":
            wait_for("it is parked", lambda: is_parked(run))
            assert "Ends when the run is cancelled. Artifact: http" in (run.state().message or "")
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling())
        wait_for("its stream is stopped", lambda: account.streams(str(run.id))[0]["status"] == "stopped")
        wait_for("so are its indexes", lambda: {i["status"] for i in indexes_of(account, service, run)} == {"stopped"})
        wait_for("nothing shows that it goes on", lambda: "was ended: " in run.artifacts()["stream-watch"]["data"])
    nothing_is_left(account, service, run)


def indexes_of(account: Account, service: Service, run: Run) -> list[dict[str, Any]]:
    return service.indexes(account.streams(str(run.id))[0]["id"])


def test_a_service_that_is_away_for_a_while_ends_no_watch(
    account: Account, deployed: str, service: Service, proxy: FaultyProxy
) -> None:
    assert deployed
    run = Run.of(DEPLOYMENT, watches=[SAID], **PARKING)
    look_once(run)
    proxy.rules = [Rule("GET", "/rtstream/", 503, times=1000)]
    look_now(run)
    look_now(run)
    assert report(run).count(": the service cannot be asked") == 1
    assert "- The service cannot be asked" in report(run)
    proxy.rules = []
    look_now(run)
    assert "is in order again" in report(run)
    cancel(run)
    stop_orphaned_streams("default")
    nothing_is_left(account, service, run)


def test_what_cannot_be_watched_is_refused_before_anything_is_connected(
    account: Account, service: Service, proxy: FaultyProxy
) -> None:
    assert service
    flow = watch_stream.with_options(persist_result=False)
    watches = [Watch.model_validate(SEEN)]
    with pytest.raises(ConfigurationError, match="either a source"):
        flow(watches, credentials=account.block)
    with pytest.raises(ConfigurationError, match="already past"):
        flow(watches, "meeting-room", credentials=account.block, end_time=datetime.now(UTC) - timedelta(minutes=1))
    with pytest.raises(ConfigurationError, match="no videodb-alert-webhook block"):
        flow(watches, "meeting-room", webhook="none-such", credentials=account.block)
    unroutable = [Watch.model_validate(SEEN | {"route": "a/b"})]
    with pytest.raises(ConfigurationError, match="a route is made of"):
        flow(unroutable, "meeting-room", credentials=account.block)
    assert "POST /rtstream" not in proxy.seen
