"""A recording ends as planned though Prefect dies or forgets meanwhile, and though the service fails at its end."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.local_server import LocalServer
from prefect_videodb.recording.parking import PARKED, wake_at
from tests.flows.conftest import (
    KEY,
    SHORT,
    Account,
    Run,
    deploy,
    deploy_to,
    pool_in_process,
    result_of,
    the_one_stopped_stream,
)
from tests.support.faulty_proxy import Fault, FaultyProxy, Rule
from tests.support.prefect_server import PrefectServer, running_prefect_server
from tests.support.processes import free_port, stopped, wait_for
from tests.support.programs import running_worker

_MINUTES = 1.0  # long enough for a Prefect server to start meanwhile


@contextmanager
def _prefect(home: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectServer]:
    """Run a Prefect server of the test's own, for this process and those that it starts."""
    with running_prefect_server(home, port) as server, temporary_settings({PREFECT_API_URL: server.url}):
        monkeypatch.setenv("PREFECT_API_URL", server.url)
        yield server


def _scheduled(videodb: LocalServer, prefect_url: str) -> tuple[Account, Run]:
    """Set everything up on a fresh Prefect server, and schedule a recording."""
    account = _account(videodb)
    return account, Run.of(deploy(prefect_url), duration_minutes=_MINUTES, queries=[])


def _account(videodb: LocalServer) -> Account:
    """Save the blocks that a deployment names, on a fresh Prefect server."""
    block = VideoDBCredentials(api_key=SecretStr(KEY), base_url=videodb.base_url)
    block.save("default")
    RTStreamSource(url=SecretStr(videodb.sample_url), name="Sample meeting").save("meeting-room")
    return Account(block, videodb.base_url)


def _execute_once(run: Run) -> None:
    with stopped(run.execute()) as process:
        assert process.wait(200) == 0


def _execute_to_the_end(run: Run) -> FlowRun:
    """Execute as a worker does: again, while it is parked."""
    for _ in range(3):
        found = run.finish()
        if found.state is not None and found.state.is_final():
            return found
    raise AssertionError(f"not ended: {run.read().state}")


@pytest.mark.timeout(600)
def test_a_prefect_server_that_is_killed_while_a_recording_is_parked_wakes_it_when_it_is_back(
    videodb: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with _prefect(tmp_path, port, monkeypatch) as server:
        account, run = _scheduled(videodb, server.url)
        _execute_once(run)
        parked = run.read()
        assert parked.state is not None
        assert parked.state.is_scheduled()
        planned = parked.state.state_details.scheduled_time
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
    assert [stream["status"] for stream in account.streams(str(run.id))] == ["connected"]
    with _prefect(tmp_path, port, monkeypatch):
        recording = result_of(_execute_to_the_end(run))
    assert wake_at(recording.window.end) == planned
    assert recording.window.end - recording.window.start == timedelta(minutes=_MINUTES)
    assert recording.missing_s == 0
    the_one_stopped_stream(account, run)


@pytest.mark.timeout(600)
def test_what_is_cancelled_after_prefect_was_killed_while_it_was_parked_is_stopped_at_once(
    videodb: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its worker: an automation of Prefect waits for an event that the server took with it."""
    port = free_port()
    title = f"cancelled {tmp_path.name}"
    parameters = {"source": "meeting-room", "name": title, "duration_minutes": 30.0}
    with ExitStack() as worker:
        with _prefect(tmp_path, port, monkeypatch) as server:
            account = _account(videodb)
            pool = pool_in_process()
            deployment = deploy_to(pool, "prefect_videodb.flows.record_meeting.record_meeting", "record-meeting")
            worker.enter_context(running_worker(tmp_path, pool))
            with get_client(sync_client=True) as client:
                run = Run(client.create_flow_run_from_deployment(deployment, parameters=parameters).id)
            wait_for("it is parked", lambda: run.state().name == PARKED)
            wait_for("something is recorded", lambda: account.has_recorded(run))
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
        with _prefect(tmp_path, port, monkeypatch):
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(run.id, Cancelling())
            assert run.state().is_cancelled()
            wait_for("its stream is stopped", lambda: account.statuses(run) == ["stopped"])
            wait_for("what was recorded is a video", lambda: account.videos(title))
            wait_for("the run tells where it is", lambda: "What it had recorded is " in str(run.artifacts()))


@pytest.mark.timeout(600)
def test_a_prefect_database_that_is_restored_from_before_the_run_makes_no_second_stream(
    videodb: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is executed once more from its beginning, and finds the stream that it does not know of."""
    port = free_port()
    database, backup = tmp_path / "prefect.db", tmp_path / "backup.db"
    with _prefect(tmp_path, port, monkeypatch) as server:
        account, run = _scheduled(videodb, server.url)
        with closing(sqlite3.connect(database)) as now, closing(sqlite3.connect(backup)) as copy:
            now.backup(copy)
        _execute_once(run)
        parked_at = datetime.now(UTC)
        [stream] = account.streams(str(run.id))
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
    for name in ("prefect.db-wal", "prefect.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.move(backup, database)
    with _prefect(tmp_path, port, monkeypatch):
        forgot = run.read()
        assert forgot.run_count == 0
        assert "videodb.rtstream_id" not in forgot.labels
        recording = result_of(_execute_to_the_end(run))
    assert recording.rtstream_id == stream["id"]
    assert recording.window.start < parked_at
    assert recording.window.end - recording.window.start == timedelta(minutes=_MINUTES)
    assert recording.earlier_video_ids == []
    assert the_one_stopped_stream(account, run)["id"] == stream["id"]


@pytest.mark.parametrize(
    ("fault", "headers"), [("hang after", {}), (500, {}), (429, {"retry-after": "2"})], ids=["silence", "500", "429"]
)
def test_a_service_that_fails_when_the_recording_ends_is_asked_again(
    account: Account, deployed: str, proxy: FaultyProxy, fault: Fault | int, headers: dict[str, Any]
) -> None:
    """At the stop, the export and the index; with a time-out that is over before a silent service hangs up."""
    account.block.timeout_s = 3.0
    account.block.save("default", overwrite=True)
    ends = [("PATCH", r"/status$"), ("POST", r"/export$"), ("POST", r"/index$")]
    proxy.rules = [Rule(method, path, fault, headers=headers) for method, path in ends]
    run = Run.of(deployed, name=f"ends with {fault}", queries=["action items"], **SHORT)
    recording = result_of(run.finish())
    assert [rule.times for rule in proxy.rules] == [0, 0, 0]
    assert [video["id"] for video in account.videos(f"ends with {fault}")] == [recording.video_id]
    assert recording.spoken_words == "indexed"
    the_one_stopped_stream(account, run)
