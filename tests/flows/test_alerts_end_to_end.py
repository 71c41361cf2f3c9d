"""All of it, in real processes: the service fires, the alert is received, dispatched, and followed up to the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling
from pydantic import SecretStr

from prefect_videodb.blocks import AlertWebhook
from tests.flows.conftest import Account, Run, deploy_to, pool_in_process, the_one_stopped_stream
from tests.support.prefect_server import is_final, runs_of
from tests.support.processes import free_port, wait_for
from tests.support.programs import running_worker, running_workers
from tests.webhooks.conftest import RECORDED, TOKEN, running_service


@pytest.fixture
def worker(account: Account, deployed: str, tmp_path: Path) -> Iterator[None]:
    assert account
    assert deployed
    with running_workers(tmp_path):
        yield


def follow_ups(route: str) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        body = {"flows": {"name": {"any_": ["follow-up-alert"]}}, "limit": 200}
        runs = [FlowRun.model_validate(run) for run in client.request("POST", "/flow_runs/filter", json=body).json()]
    return [run for run in runs if run.labels.get("videodb.route") == route]


@pytest.mark.usefixtures("worker")
@pytest.mark.timeout(600)
def test_what_is_said_on_a_watched_stream_starts_its_follow_up(account: Account, tmp_path: Path) -> None:
    port = free_port()
    AlertWebhook(base_url=f"http://127.0.0.1:{port}", token=SecretStr(TOKEN)).save("end-to-end", overwrite=True)
    watches: list[dict[str, Any]] = [
        {"label": "budget", "prompt": "The budget is mentioned", "kind": "audio", "batch_s": 15, "route": "follow-up"}
    ]
    with running_service(tmp_path / "inbox.sqlite", tmp_path / "service.log", port=port, webhook="end-to-end"):
        watch = Run.of("watch-stream/watch-stream", watches=watches, webhook="end-to-end")
        wait_for("an alert is followed up", lambda: follow_ups("follow-up"), 240)
        followed = Run(follow_ups("follow-up")[0].id)
        wait_for("the follow-up is done", lambda: _is_over(followed), 240)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(watch.id, Cancelling())
        wait_for("nothing is left connected", lambda: not _connected(account, watch))
    done = followed.read()
    assert done.state is not None
    assert done.state.is_completed(), f"{done.state}\n{followed.logs()}"
    report = followed.artifacts()["alert-follow-up"]["data"]
    assert "▶ Play the clip" in report
    assert "budget" in report
    the_one_stopped_stream(account, watch)
    kept = followed.logs() + watch.logs() + str(watch.read()) + str(done) + report
    assert TOKEN not in kept


MANIFEST = {key: RECORDED[key] for key in ("event_id", "label", "stream_url")}
ALERTS: list[dict[str, Any]] = [
    RECORDED,
    RECORDED | {"start_time": 1748475496.5, "end_time": 1748475506.5, "timestamp": 1748475507},
    MANIFEST | {"event_id": "event-1"},
    {"channel": "alert", "rtstream_id": "rts-1", "data": RECORDED | {"event_id": "event-2"}},
    {"event_label": "door_opened", "event_id": "event-3", "data": {"text": "Open.", "start": 12.5, "end": "14.000s"}},
]
STAGES: list[dict[str, Any]] = [
    {"version": 1, "event": "capture_session.active", "capture_session_id": "cap-1", "status": "active", "data": {}},
    {"status": "done", "video_id": "m-1", "speaker_timeline": []},
    {"success": True, "status": "done", "data": {"video_id": "m-2", "whose": "ours"}},
]


@pytest.mark.timeout(600)
def test_every_recorded_body_goes_all_the_way_to_a_run_that_is_done(account: Account, tmp_path: Path) -> None:
    assert account
    pool = pool_in_process()
    flows = "prefect_videodb.flows.follow_up_alert.follow_up_alert"
    alerts = deploy_to(pool, flows, "follow-up-alert", ["videodb-alerts:recorded"])
    stages = deploy_to(pool, "tests.worker.sample_flows.take_stage", "take-stage", ["videodb-alerts:stages"])
    AlertWebhook(base_url="https://hooks.example", token=SecretStr(TOKEN)).save("end-to-end", overwrite=True)
    with (
        running_worker(tmp_path, pool),
        running_service(tmp_path / "inbox.sqlite", tmp_path / "service.log", webhook="end-to-end") as service,
    ):
        for route, bodies in (("recorded", ALERTS), ("stages", STAGES)):
            for body in [*bodies, *bodies]:  # each once more
                assert service.post(body, route=route).is_success
        wait_for("nothing waits", lambda: service.health()["waiting"] == 0)
        for deployment, bodies in ((alerts, ALERTS), (stages, STAGES)):
            wait_for("all are done", lambda deployment=deployment: all(map(is_final, runs_of(deployment))), 240)
            assert [run.state_name for run in runs_of(deployment)] == ["Completed"] * len(bodies)
        assert service.health()["dead_letters"] == 0


def _connected(account: Account, watch: Run) -> bool:
    return any(stream["status"] == "connected" for stream in account.streams(str(watch.id)))


def _is_over(run: Run) -> bool:
    return is_final(run.read())
