"""A recording that waits without a process: parked in Prefect, woken at its end, ended early, extended, cancelled."""

import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelling

from prefect_videodb.durable.recovery import HEARTBEAT_TIMEOUT, Death, death_of, last_heartbeat, recover
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.flows import change_recording, stop_orphaned_streams
from prefect_videodb.recording.memory import planned_window, remembered
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.orphans import Verdict
from prefect_videodb.recording.parking import PARKED, wake_at
from prefect_videodb.recording.text import clock
from tests.flows.conftest import HOLDING, SHORT, Account, Run, result_of, the_one_stopped_stream
from tests.support.processes import stopped, wait_for
from tests.support.programs import running_workers

BERLIN = ZoneInfo("Europe/Berlin")  # of the deployment's schedule
LONG: dict[str, Any] = {"duration_minutes": 40 / 60, "queries": []}


def parked(run: Run) -> bool:
    state = run.read().state
    return state is not None and state.is_scheduled() and state.name == PARKED


def connected(account: Account, run: Run) -> bool:
    return account.statuses(run) == ["connected"]


def shown(run: Run) -> str:
    """Give what the UI shows of a recording before its report."""
    return str(run.artifacts()["recording-now"]["data"])


def window_of(run: Run) -> Window:
    window = planned_window(remembered(run.read()))
    assert window is not None
    return window


def park(run: Run) -> None:
    """Execute once, as a worker does: the process ends, and the recording goes on."""
    with stopped(run.execute()) as process:
        assert process.wait(120) == 0
    assert parked(run), f"{run.read().state}\n{run.logs()}"


def test_a_parked_recording_holds_no_process_and_ends_on_time(account: Account, deployed: str) -> None:
    run = Run.of(deployed, **LONG)
    park(run)
    assert connected(account, run)
    state = run.state()
    assert "Recording Sample meeting until" in (state.message or "") or "Daily stand-up" in (state.message or "")
    assert f"until **{clock(window_of(run).end, BERLIN)}**" in shown(run)
    planned = state.state_details.scheduled_time
    assert planned is not None

    finished = run.finish()  # as a worker that looked ahead: it waits for the moment inside
    recording = result_of(finished)
    assert wake_at(recording.window.end) == planned  # shortly before its end
    assert not recording.ended_early
    assert recording.missing_s == 0
    assert recording.video_length_s == pytest.approx(40, abs=6)
    assert finished.run_count == 2
    the_one_stopped_stream(account, run)
    assert recording.steps_s["record"] == 40.0  # of both executions
    assert list(recording.steps_s)[:4] == ["connect", "ingest", "record", "stop"]
    assert shown(run).startswith("**Daily stand-up** is over: recorded from ")
    assert "[The report](<" in shown(run)
    assert run.artifacts()["recording-now"]["description"] == "Over"


def test_a_parked_recording_is_ended_now(account: Account, deployed: str) -> None:
    run = Run.of(deployed, duration_minutes=30.0, queries=[])
    park(run)
    wait_for("something is recorded", lambda: account.has_recorded(run))
    window = change_recording(run.id)
    recording = result_of(run.finish())
    assert recording.window.end == window.end
    assert recording.video_length_s is not None
    assert recording.video_length_s > 3
    the_one_stopped_stream(account, run)
    with pytest.raises(ConfigurationError, match="is over since"):
        change_recording(run.id)


def test_a_parked_recording_is_given_a_later_end(account: Account, deployed: str) -> None:
    run = Run.of(deployed, **LONG)
    park(run)
    later = datetime.now(UTC) + timedelta(minutes=20)
    assert change_recording(run.id, end_time=later).end == later
    state = run.state()
    assert state.state_details.scheduled_time == wake_at(later)
    assert f"until **{clock(later, BERLIN)}**" in shown(run)
    assert f"until {clock(later, BERLIN)}" in (state.message or "")
    assert str(remembered(run.read())["live_url"]) in (state.message or "")
    # One that a worker fetched before the change wakes at the old end, and parks again.
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run.id, {"videodb.window_end": (later + timedelta(minutes=1)).isoformat()})
    change_recording(run.id, end_time=later)
    assert connected(account, run)


def test_an_end_that_is_moved_shortly_before_it_counts(account: Account, deployed: str) -> None:
    run = Run.of(deployed, queries=[], options=HOLDING, **SHORT)
    with stopped(run.execute()) as process:
        run.wait_for_label("videodb.window_start")
        later = datetime.now(UTC) + timedelta(seconds=30)
        change_recording(run.id, end_time=later)
        process.wait(120)
    recording = result_of(run.read())
    assert recording.window.end == later
    assert not recording.ended_early
    the_one_stopped_stream(account, run)


def test_what_is_no_recording_cannot_be_changed(account: Account, deployed: str) -> None:
    assert account
    run = Run.of(deployed, **LONG)
    with pytest.raises(ConfigurationError, match="is not recording"):
        change_recording(run.id)


@pytest.fixture
def worker(account: Account, deployed: str, tmp_path: Path) -> Iterator[None]:
    assert account
    assert deployed
    with running_workers(tmp_path):
        yield


@pytest.mark.usefixtures("worker")
def test_cancelling_a_parked_recording_stops_it_and_keeps_what_there_is(account: Account, deployed: str) -> None:
    kept, gone = f"kept {uuid4()}", f"gone {uuid4()}"
    run = Run.of(deployed, name=kept, duration_minutes=30.0, queries=[])
    not_kept = Run.of(deployed, name=gone, duration_minutes=30.0, queries=[], options={"export_when_cancelled": False})
    wait_for("the runs are parked", lambda: parked(run) and parked(not_kept))
    assert connected(account, run)
    wait_for("something is recorded", lambda: account.has_recorded(run) and account.has_recorded(not_kept))
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(not_kept.id, Cancelling())
    wait_for("the stream is stopped", lambda: not connected(account, not_kept))
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    state = run.state()
    assert state.is_cancelled()  # there is no process whose end it had to wait for
    # Prefect's automation starts the flow that looks after it.
    wait_for("the stream is stopped", lambda: not connected(account, run))
    the_one_stopped_stream(account, run)
    wait_for("what was recorded is a video", lambda: account.videos(kept))
    assert account.videos(kept)[0]["name"] == kept
    wait_for("the run tells where it is", lambda: "What it had recorded is the video" in shown(run))
    told = re.search(r"the video \[(\S+)\]\(<(\S+)>\)", shown(run))
    assert told, shown(run)
    assert told[1] == account.videos(kept)[0]["id"]
    assert httpx.get(told[2], timeout=60).is_success
    assert "was ended: " in shown(run)
    assert not account.videos(gone)


def test_what_nobody_looks_after_is_stopped_and_everything_else_is_left_alone(account: Account, deployed: str) -> None:
    alive, deleted = Run.of(deployed, duration_minutes=30.0), Run.of(deployed, duration_minutes=30.0)
    for run in (alive, deleted):
        park(run)
    foreign = account.connect("Not ours")
    with get_client(sync_client=True) as client:
        client.delete_flow_run(deleted.id)

    reports = {report.flow_run_id: report for report in stop_orphaned_streams("default", dry_run=True)}
    assert reports[str(deleted.id)].verdict is Verdict.STOP
    assert connected(account, deleted)

    reports = {report.flow_run_id: report for report in stop_orphaned_streams("default", cost_per_minute=2.0)}
    assert reports[str(alive.id)].verdict is Verdict.RECORDING
    assert reports[str(alive.id)].until is not None
    assert reports[str(alive.id)].cost is not None
    assert "deleted" in reports[str(deleted.id)].reason
    assert reports[str(deleted.id)].video_id
    assert connected(account, alive)
    the_one_stopped_stream(account, deleted)
    assert [s["status"] for s in account.streams("Not ours") if s["id"] == foreign] == ["connected"]
    # Once more: there is nothing left to do.
    assert [
        report.verdict for report in stop_orphaned_streams("default") if report.flow_run_id == str(deleted.id)
    ] == []


def test_a_parked_recording_whose_stream_was_stopped_is_woken(account: Account, deployed: str) -> None:
    run = Run.of(deployed, duration_minutes=30.0, queries=[])
    park(run)
    wait_for("something is recorded", lambda: account.has_recorded(run))
    account.stop_all()
    stop_orphaned_streams("default")
    recording = result_of(run.finish())
    assert recording.ended_early
    the_one_stopped_stream(account, run)


def test_a_run_that_died_with_its_worker_is_found_and_goes_on(account: Account, deployed: str) -> None:
    """Nobody reports it: there is no worker here, and the process is killed."""

    def death(after: timedelta) -> Death | None:
        now, found = datetime.now(UTC) + after, run.read()
        with get_client(sync_client=True) as client:
            return death_of(found, None, now, last_heartbeat(client, found, now))

    run = Run.of(deployed, queries=[], options=HOLDING, **SHORT)
    with stopped(run.execute()) as process:
        run.wait_for_label("videodb.window_start")
        # As if it had gone on like this until long after.
        wait_for("its heartbeat is known", lambda: death(HEARTBEAT_TIMEOUT + timedelta(minutes=1)))
        assert not death(timedelta(0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert connected(account, run)
    with get_client(sync_client=True) as client:
        recover(client, run.read(), Death("no heartbeat"))
    assert run.state().is_scheduled()
    result_of(run.finish())
    the_one_stopped_stream(account, run)


def test_a_recording_waits_for_room_and_says_when_there_is_none(account: Account, deployed: str) -> None:
    account.connect("Somebody else's")
    run = Run.of(deployed, duration_minutes=1.0, options={"most_streams": 1, "start_timeout_s": 1})
    state = run.finish().state
    assert state is not None
    assert state.is_failed()
    assert "at most 1 may be" in (state.message or "")
    assert account.streams(str(run.id)) == []
