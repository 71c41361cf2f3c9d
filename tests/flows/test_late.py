"""What begins late, what is stopped late, and what vanishes while a recording waits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Scheduled
from pydantic import SecretStr

from prefect_videodb.blocks import AlertWebhook, RTStreamSource, VideoDBCredentials
from prefect_videodb.flows import change_recording, stop_orphaned_streams
from prefect_videodb.local_server import LocalServer
from prefect_videodb.recording.memory import label
from prefect_videodb.recording.orphan_report import StreamReport
from prefect_videodb.recording.orphans import Verdict
from prefect_videodb.recording.parking import wake_at
from tests.flows.conftest import HOLDING, Account, Run, deploy_to, pool_in_process, result_of, the_one_stopped_stream
from tests.support.processes import stopped, wait_for

LONG: dict[str, Any] = {"duration_minutes": 30.0, "queries": []}


def due(deployed: str, ago: timedelta, **parameters: Any) -> Run:
    """Make a run that was due so long ago."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployed)
        state: Any = Scheduled(scheduled_time=datetime.now(UTC) - ago)
        return Run(client.create_flow_run_from_deployment(found.id, parameters=parameters, state=state).id)


def parked(run: Run) -> Run:
    """Execute a run until it waits without a process."""
    with stopped(run.execute()) as process:
        assert process.wait(120) == 0
    assert run.state().name == "Recording", f"{run.state()}\n{run.logs()}"
    return run


def end_it(run: Run, at: datetime) -> None:
    """Plan another end, as if it had been planned like that, and nobody had come to it."""
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run.id, label(window_end=at.isoformat()))
        client.set_flow_run_state(run.id, Scheduled(name="Recording", scheduled_time=wake_at(at)))


def events(name: str, run: Run) -> list[dict[str, Any]]:
    wanted = {"event": {"name": [name]}, "any_resource": {"id": [f"prefect.flow-run.{run.id}"]}}
    with get_client(sync_client=True) as client:
        answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 10})
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


@contextmanager
def other_blocks(account: Account, videodb: LocalServer) -> Iterator[dict[str, str]]:
    """Save a source and an account that a test may delete."""
    name = f"gone-{uuid4()}"
    RTStreamSource(url=SecretStr(str(videodb.sample_url)), name="Soon gone").save(name)
    account.block.model_copy().save(name)
    yield {"source": name, "credentials": name}
    for kind in (RTStreamSource, VideoDBCredentials):
        if name in {document.name for document in saved(kind)}:
            kind.delete(name)


def saved(kind: Any) -> list[Any]:
    with get_client(sync_client=True) as client:
        slug = kind.get_block_type_slug()
        return list(client.read_block_documents_by_type(block_type_slug=slug, limit=200))


# --- begun late -------------------------------------------------------------------------------------------------------


def test_recording_that_is_over_is_skipped(account: Account, deployed: str) -> None:
    run = due(deployed, timedelta(hours=75), **LONG)
    for _ in range(2):  # the second time it is retried
        state = run.finish().state
        assert state is not None
        assert (state.type.value, state.name) == ("COMPLETED", "Skipped"), run.logs()
        assert "began 75:0" in (state.message or "")
        assert "To begin one now, start a new run" in (state.message or "")
        run.schedule_again()
    assert account.streams(str(run.id)) == []
    wait_for("it is told", lambda: events("videodb.recording.skipped", run))
    assert len(events("videodb.recording.skipped", run)) == 1


def test_watch_that_is_over_is_skipped(account: Account, deployed: str) -> None:
    assert deployed
    end = datetime.now(UTC) - timedelta(hours=1)
    watches = [{"label": "budget", "prompt": "The budget", "kind": "audio", "route": "follow-up"}]
    save_a_webhook()
    run = due("watch-stream/watch-stream", timedelta(hours=2), watches=watches, end_time=end.isoformat())
    state = run.finish().state
    assert state is not None
    assert state.name == "Skipped", run.logs()
    assert account.streams(str(run.id)) == []


def save_a_webhook() -> None:
    AlertWebhook(base_url="http://127.0.0.1:1", token=SecretStr("t" * 32)).save("default", overwrite=True)


def test_late_inside_its_window_ends_with_it(account: Account, deployed: str) -> None:
    late = timedelta(seconds=60)
    run = due(deployed, late, duration_minutes=85 / 60, queries=[], options=HOLDING)
    was_due = run.read().expected_start_time
    assert was_due is not None
    recording = result_of(run.finish())
    assert recording.window.start == was_due
    assert recording.window.end == was_due + timedelta(seconds=85)
    assert recording.missing[0].start == was_due
    assert recording.missing_s >= late.total_seconds()
    assert recording.overrun_s == 0
    assert "it began late" in run.artifacts()["meeting-recording"]["data"]
    the_one_stopped_stream(account, run)


# --- stopped late -----------------------------------------------------------------------------------------------------


def test_overrun_is_told_and_the_clip_is_of_the_window(account: Account, deployed: str) -> None:
    run = parked(Run.of(deployed, duration_minutes=30.0, queries=["budget"], options={"score_threshold": 0}))
    window_s = 8
    began = datetime.fromisoformat(str(run.read().labels["videodb.window_start"]))
    end_it(run, began + timedelta(seconds=window_s))
    time.sleep(max(0.0, 25 - (datetime.now(UTC) - began).total_seconds()))
    recording = result_of(run.finish())
    the_one_stopped_stream(account, run)
    assert recording.video_length_s is not None
    assert recording.overrun_s == pytest.approx(recording.video_length_s - window_s, abs=1)
    assert recording.overrun_s > 10
    assert recording.missing_s == 0
    assert all(hit.start_s < window_s for hit in recording.hits)
    assert all(part.end_s <= window_s + 1 for part in recording.clip_parts)
    assert "after the planned end**" in run.artifacts()["meeting-recording"]["data"]
    wait_for("it is told", lambda: events("videodb.recording.overran", run))
    [event] = events("videodb.recording.overran", run)
    assert event["payload"]["overrun_s"] == recording.overrun_s


def test_recording_that_no_worker_ends_is_stopped_and_late(account: Account, deployed: str) -> None:
    run = parked(Run.of(deployed, **LONG))
    wait_for("something is recorded", lambda: account.has_recorded(run))
    end_it(run, datetime.now(UTC) - timedelta(minutes=11))
    stop_orphaned_streams("default")
    state = run.state()
    assert (state.type.value, state.name) == ("SCHEDULED", "Late")
    assert "no worker took the run" in (state.message or "")
    the_one_stopped_stream(account, run)
    result_of(run.finish())


# --- what vanishes while it waits -------------------------------------------------------------------------------------


def of_a_deployment_that_is_deleted(**parameters: Any) -> tuple[Run, UUID]:
    """Park a recording of a deployment of its own."""
    deployment = deploy_to(pool_in_process(), "prefect_videodb.flows.record_meeting.record_meeting", "record-meeting")
    given = {"source": "meeting-room"} | LONG | parameters
    with get_client(sync_client=True) as client:
        run = Run(client.create_flow_run_from_deployment(deployment, parameters=given).id)
    return parked(run), deployment


def report_of(reports: list[StreamReport], run: Run) -> StreamReport:
    return next(one for one in reports if one.flow_run_id == str(run.id))


def test_recording_whose_deployment_was_deleted_ends_at_its_end(account: Account, deployed: str) -> None:
    assert deployed
    run, deployment = of_a_deployment_that_is_deleted(name=f"deleted {uuid4()}")
    with get_client(sync_client=True) as client:
        client.delete_deployment(deployment)
    wait_for("something is recorded", lambda: account.has_recorded(run))
    assert report_of(stop_orphaned_streams("default"), run).verdict is Verdict.RECORDING
    assert account.statuses(run) == ["connected"]

    end_it(run, datetime.now(UTC))
    told = report_of(stop_orphaned_streams("default"), run)
    assert (told.verdict, told.reason) == (Verdict.STOP, "its deployment was deleted")
    the_one_stopped_stream(account, run)
    state = run.state()
    assert (state.type.value, state.name) == ("COMPLETED", "Incomplete")
    assert told.video_id
    assert f"the video {told.video_id}" in (state.message or "")
    assert "was ended: its deployment was deleted" in run.artifacts()["recording-now"]["data"]


def test_recording_whose_deployment_was_deleted_and_whose_stream_is_stopped_ends(
    account: Account, deployed: str
) -> None:
    assert deployed
    run, deployment = of_a_deployment_that_is_deleted()
    wait_for("something is recorded", lambda: account.has_recorded(run))
    with get_client(sync_client=True) as client:
        client.delete_deployment(deployment)
    end_it(run, datetime.now(UTC))
    account.stop(account.streams(str(run.id))[0]["id"])  # as the worker does that knows its end
    stop_orphaned_streams("default")
    assert run.state().name == "Incomplete"


def test_source_block_deleted_while_it_waits(account: Account, videodb: LocalServer, deployed: str) -> None:
    with other_blocks(account, videodb) as blocks:
        given = LONG | {"name": None, "source": blocks["source"]}
        run = parked(Run.of(deployed, **given))
        wait_for("something is recorded", lambda: account.has_recorded(run))
        RTStreamSource.delete(blocks["source"])
        change_recording(run.id)
        recording = result_of(run.finish())
    assert recording.name == "Soon gone"
    the_one_stopped_stream(account, run)


def test_credentials_block_deleted_while_it_waits(account: Account, videodb: LocalServer, deployed: str) -> None:
    with other_blocks(account, videodb) as blocks:
        run = parked(Run.of(deployed, **LONG, credentials=blocks["credentials"]))
        wait_for("something is recorded", lambda: account.has_recorded(run))
        VideoDBCredentials.delete(blocks["credentials"])
        change_recording(run.id)
        state = run.finish().state
        assert state is not None
        assert state.is_failed()
        [stream] = account.streams(str(run.id))
        assert f"nobody can stop the stream {stream['id']} of this run" in (state.message or "")
        account.block.model_copy().save(blocks["credentials"])
        run.schedule_again()
        result_of(run.finish())
    the_one_stopped_stream(account, run)
