"""A recording goes on, or ends cleanly, whatever happens to its process or its worker."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelling

from prefect_videodb.blocks import RTStreamSource
from prefect_videodb.durable.recovery import crash_count
from prefect_videodb.flows import record_meeting
from prefect_videodb.recording.changing import set_recording_end
from prefect_videodb.recording.inputs import load_source
from tests.flows.conftest import (
    HOLDING,
    SECONDS,
    SHORT,
    Account,
    Run,
    deploy_to,
    pool_in_process,
    result_of,
    the_one_stopped_stream,
)
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.processes import ROOT, stopped, wait_for
from tests.support.programs import running_worker


@pytest.mark.parametrize("label", ["videodb.asked_at", "videodb.window_start", "videodb.video_id"])
def test_a_killed_run_that_is_executed_again_goes_on_from_where_it_was(
    account: Account, deployed: str, proxy: FaultyProxy, label: str
) -> None:
    """Killed as it connects; while it records; after the export."""
    proxy.rules = [Rule("POST", r"/index$", "hang after")]  # what is left to do then would be done in a moment
    run = Run.of(deployed, **SHORT)
    with stopped(run.execute()) as process:
        run.wait_for_label(label)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    proxy.rules.clear()
    known = dict(run.read().labels)
    run.schedule_again()
    recording = result_of(run.finish())

    assert the_one_stopped_stream(account, run)["id"] == recording.rtstream_id
    if "videodb.window_start" in known:
        assert recording.window.start.isoformat() == known["videodb.window_start"]
        assert recording.window.end.isoformat() == known["videodb.window_end"]
    if "videodb.video_id" in known:
        assert recording.video_id == known["videodb.video_id"]
        assert recording.steps_s["record"] == SECONDS
    assert recording.video_length_s


def test_a_run_killed_before_it_learned_its_streams_id_finds_it_and_keeps_its_window(
    account: Account, deployed: str, proxy: FaultyProxy
) -> None:
    proxy.rules = [Rule("POST", r"/rtstream$", "hang after")]
    run = Run.of(deployed, queries=[], **SHORT)
    with stopped(run.execute()) as process:
        wait_for("the service has the stream", lambda: account.streams(str(run.id)))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    asked_at = run.read().labels["videodb.asked_at"]
    run.schedule_again()
    recording = result_of(run.finish())
    assert the_one_stopped_stream(account, run)["id"] == recording.rtstream_id
    assert recording.window.start.isoformat() == asked_at
    assert recording.window.end - recording.window.start == timedelta(seconds=SECONDS)


def test_a_source_that_is_renamed_before_its_killed_run_goes_on_is_not_recorded_twice(
    account: Account, deployed: str, proxy: FaultyProxy
) -> None:
    proxy.rules = [Rule("POST", r"/rtstream$", "hang after")]
    source = RTStreamSource(url=load_source("meeting-room").url, name="Before")
    source.save("renamed", overwrite=True)
    run = Run.of(deployed, source="renamed", name=None, queries=[], **SHORT)
    with stopped(run.execute()) as process:
        wait_for("the service has the stream", lambda: account.streams(str(run.id)))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    source.name = "After"
    source.save("renamed", overwrite=True)
    run.schedule_again()
    recording = result_of(run.finish())
    assert the_one_stopped_stream(account, run)["id"] == recording.rtstream_id


def test_a_terminated_run_of_a_deployment_is_executed_again_and_its_stream_goes_on(
    account: Account, deployed: str
) -> None:
    run = Run.of(deployed, queries=[], options=HOLDING, **SHORT)
    with stopped(run.execute()) as process:
        run.wait_for_label("videodb.window_start")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert account.statuses(run) == ["connected"]
    assert run.state().is_scheduled()
    recording = result_of(run.finish())
    assert recording.earlier_video_ids == []
    the_one_stopped_stream(account, run)


def test_a_terminated_run_that_nobody_executes_again_stops_its_stream_before_it_ends(account: Account) -> None:
    program = (
        "from prefect_videodb.flows import record_meeting\n"
        "record_meeting('meeting-room', duration_minutes=30.0, name='terminated')"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, start_new_session=True)
    with stopped(process):
        wait_for("it records", lambda: account.streams("terminated"))
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert [stream["status"] for stream in account.streams("terminated")] == ["stopped"]


def test_a_run_that_times_out_stops_its_stream(account: Account) -> None:
    flow = record_meeting.with_options(timeout_seconds=15.0, persist_result=False)
    state = flow(source="meeting-room", credentials=account.block, duration_minutes=30.0, return_state=True)
    assert state.name == "TimedOut"
    assert state.state_details.flow_run_id is not None
    the_one_stopped_stream(account, Run(state.state_details.flow_run_id))


def test_under_a_worker_a_cancelled_run_leaves_no_stream_and_a_killed_one_goes_on(
    account: Account, deployed: str, tmp_path: Path
) -> None:
    with running_worker(tmp_path):
        title = f"cancelled {tmp_path.name}"
        cancelled = Run.of(deployed, name=title, duration_minutes=30.0, options=HOLDING)
        killed = Run.of(deployed, duration_minutes=30.0, options=HOLDING)
        cancelled.wait_for_label("videodb.window_start")
        killed.wait_for_label("videodb.window_start")
        wait_for("something is recorded", lambda: account.has_recorded(cancelled))
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(cancelled.id, Cancelling())
        pid = killed.read().infrastructure_pid
        assert pid is not None
        os.kill(int(pid.rpartition(":")[2]), signal.SIGKILL)
        wait_for("the run is cancelled", lambda: cancelled.state().is_cancelled())
        wait_for("its stream is stopped", lambda: account.statuses(cancelled) == ["stopped"])
        wait_for("what was recorded is a video", lambda: account.videos(title))
        wait_for("the run tells where it is", lambda: "What it had recorded is " in str(cancelled.artifacts()))
        wait_for("it is executed again", lambda: killed.read().run_count == 2 and killed.state().is_running())
        assert crash_count(killed.read()) == 1
        assert account.statuses(killed) == ["connected"]
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(killed.id, Cancelling())
        wait_for("the other run is cancelled", lambda: killed.state().is_cancelled())
        wait_for("its stream is stopped", lambda: account.statuses(killed) == ["stopped"])


def test_a_worker_that_is_killed_while_it_executes_a_recording_leaves_it_to_the_next(
    account: Account, tmp_path: Path
) -> None:
    pool = pool_in_process()
    deployment = deploy_to(pool, "prefect_videodb.flows.record_meeting.record_meeting", "record-meeting")
    title = f"worker killed {tmp_path.name}"
    parameters = {"source": "meeting-room", "name": title, "queries": [], "duration_minutes": 30.0, "options": HOLDING}
    with get_client(sync_client=True) as client:
        run = Run(client.create_flow_run_from_deployment(deployment, parameters=parameters).id)
    with running_worker(tmp_path, pool) as worker:
        run.wait_for_label("videodb.window_start")
        wait_for("something is recorded", lambda: account.has_recorded(run))
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    with running_worker(tmp_path, pool):
        wait_for("it is executed again", lambda: run.read().run_count == 2 and run.state().is_running())
        assert account.statuses(run) == ["connected"]
        set_recording_end.fn(run.id)
        wait_for("it is finished", lambda: run.state().is_final())
    recording = result_of(run.read())
    assert the_one_stopped_stream(account, run)["id"] == recording.rtstream_id
    assert recording.earlier_video_ids == []
    assert [video["id"] for video in account.videos(title)] == [recording.video_id]


def test_a_run_that_fails_before_it_reaches_its_stream_again_stops_it(account: Account, deployed: str) -> None:
    run = Run.of(deployed, duration_minutes=30.0, options=HOLDING)
    with stopped(run.execute()) as process:
        run.wait_for_label("videodb.window_start")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, parameters={"source": "meeting-room", "duration_minutes": -1})
    run.schedule_again()
    state = run.finish().state
    assert state is not None
    assert state.is_failed()
    the_one_stopped_stream(account, run)
