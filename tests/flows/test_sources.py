"""Sources that are not as the block says, that deliver nothing, or stop delivering; and what is told of it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource
from prefect_videodb.client import streams
from prefect_videodb.flows import change_recording, stop_orphaned_streams
from prefect_videodb.recording import liveness
from prefect_videodb.recording.memory import Memory, remembered
from prefect_videodb.recording.stream import SourceMonitor, Watch
from tests.flows.conftest import SHORT, Account, Run, result_of, the_one_stopped_stream
from tests.flows.test_parking import park, shown, window_of
from tests.flows.test_stop_orphaned_streams import events_about
from tests.support.faulty_proxy import FaultyProxy
from tests.support.media import make_sound, make_still
from tests.support.processes import ROOT, free_port, stopped, wait_for

LOST, RECOVERED = "videodb.source.lost", "videodb.source.recovered"


def source(name: str, url: str, **more: Any) -> str:
    RTStreamSource(url=SecretStr(url), name=name, **more).save(name, overwrite=True)
    return name


def message(run: Run) -> str:
    return run.state().message or ""


def told(run: Run, event: str, since: datetime) -> int:
    """Count the events of a kind about a run's stream."""
    rtstream_id = remembered(run.read())["rtstream_id"]
    found: list[dict[str, Any]] = []

    def is_told() -> bool:
        found[:] = [one for one in events_about(f"videodb.rtstream.{rtstream_id}", since) if one["event"] == event]
        return bool(found)

    wait_for(event, is_told)
    return len(found)


# --- what was recorded decides ----------------------------------------------------------------------------------------


def test_audio_only_source_with_the_defaults(
    account: Account, deployed: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    name = source("sound-only", make_sound(tmp_path / "sound.m4a").as_uri())
    run = Run.of(deployed, source=name, **SHORT)
    recording = result_of(run.finish())
    assert recording.media == "audio"
    assert recording.video_id.startswith("a-")
    assert recording.video.stream_url
    assert recording.video_length_s == pytest.approx(12, abs=6)
    assert recording.spoken_words == "not searched"
    assert not any(request.startswith("GET /video/") for request in proxy.seen)
    report = run.artifacts()["meeting-recording"]["data"]
    assert f"[▶ Play the recording](<{recording.video.stream_url}>)" in report
    assert "only sound was recorded" in report
    the_one_stopped_stream(account, run)


def test_source_that_is_not_stored_is_refused_before_it_is_billed(
    account: Account, deployed: str, proxy: FaultyProxy, tmp_path: Path
) -> None:
    assert account
    name = source("not-stored", make_sound(tmp_path / "sound.m4a").as_uri(), store=False)
    run = Run.of(deployed, source=name, **SHORT)
    run.finish()
    assert run.state().is_failed()
    assert "has *Store* switched off" in message(run)
    assert "POST /rtstream" not in proxy.seen


# --- a source that is dead from the start -----------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_dead_source_is_told_within_a_minute_of_the_start(account: Account, deployed: str) -> None:
    began = datetime.now(UTC)
    run = Run.of(deployed, source=source("dead", "rtsp://127.0.0.1:9/none"), duration_minutes=20.0, queries=[])
    park(run)
    known = remembered(run.read())
    told_by = datetime.fromisoformat(known["source_lost"])
    assert told_by - window_of(run).start < timedelta(seconds=60)
    assert account.statuses(run) == ["connected"]  # as the service has it
    assert "Its source delivers nothing since about" in message(run)
    assert "/none" not in message(run)
    assert "**Its source delivers nothing since about" in shown(run)
    assert run.logs().count("delivers nothing: nothing of its last 30 s can be played") == 1
    with get_client(sync_client=True) as client:
        logged = {"logs": {"flow_run_id": {"any_": [str(run.id)]}, "level": {"ge_": 30}}}
        assert client.request("POST", "/logs/filter", json=logged).json()

    for _ in range(2):  # restarted, or looked at again: it is told already
        [report] = [one for one in stop_orphaned_streams("default") if one.flow_run_id == str(run.id)]
        assert report.reason == "its source delivers nothing"
    assert told(run, LOST, began) == 1
    assert run.state().name == "Recording"

    change_recording(run.id)
    run.finish()
    assert run.state().is_failed()
    assert "nothing was recorded" in message(run)
    assert "was ended: the run is Failed" in shown(run)
    assert run.artifacts()["recording-now"]["description"] == "Ended"


# --- one that dies midway ---------------------------------------------------------------------------------------------


@contextmanager
def publisher(media: Path, port: int) -> Iterator[str]:
    """Play a file over RTSP until the block ends. Gives the URL."""
    command = [sys.executable, "-m", "tests.support.publisher", str(media), str(port)]
    with stopped(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as process:
        assert process.stdout
        yield process.stdout.readline().decode().strip()


@pytest.mark.timeout(400)
def test_source_that_dies_while_parked_is_told_once_and_again_when_it_is_back(
    account: Account, deployed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PROBED", timedelta(seconds=12))
    media, port, began = make_still(tmp_path / "still.mp4"), free_port(), datetime.now(UTC)

    def is_told(text: str) -> bool:
        stop_orphaned_streams("default")
        return text in message(run)

    with publisher(media, port) as url:
        name = source("mortal", url, media_types=["video"])
        run = Run.of(deployed, source=name, duration_minutes=30.0, queries=[])
        park(run)
        assert "delivers" not in message(run)
        live = remembered(run.read())["live_url"]
        assert live in message(run)
        assert live in shown(run)
        before = run.read()
        died_at = time.monotonic()
    wait_for("it is told", lambda: is_told("Its source delivers nothing since about"), timeout_s=120, interval_s=2.0)
    assert time.monotonic() - died_at < 120
    stop_orphaned_streams("default")
    after = run.read()
    assert before.state is not None
    assert after.state is not None
    assert after.state.name == "Recording"
    assert after.state.state_details.scheduled_time == before.state.state_details.scheduled_time
    assert after.run_count == before.run_count
    assert run.logs().count("delivers nothing: ") == 1
    assert told(run, LOST, began) == 1
    assert "**Its source delivers nothing since" in shown(run)

    with publisher(media, port):
        wait_for("it is back", lambda: is_told("and delivers again since"), timeout_s=120, interval_s=2.0)
        stop_orphaned_streams("default")
        assert told(run, RECOVERED, began) == 1
        assert "and delivers again since" in shown(run)
        assert "delivers nothing since" not in message(run)
        change_recording(run.id)
        assert "and delivers again since" in message(run)
        recording = result_of(run.finish())
    assert recording.missing_s > 0 or recording.video_length_s
    the_one_stopped_stream(account, run)


def test_source_that_is_dead_while_a_process_waits(account: Account, deployed: str) -> None:
    began = datetime.now(UTC)
    run = Run.of(deployed)
    name = f"Of a run [prefect-videodb {run.id}]"
    with account.block.get_client() as client:
        rtstream_id = client.send(streams.connect("rtsp://127.0.0.1:9/none", name)).id
    changes: list[str] = []
    with Memory.of(str(run.id)) as memory:
        memory.remember(rtstream_id=rtstream_id, window_start=(began - timedelta(minutes=1)).isoformat())
        monitor = SourceMonitor(memory, "Board", lambda: changes.append(liveness.outage_text(memory.known)))
        for _ in range(2):  # as two executions
            watch = Watch(account.block, rtstream_id, monitor, began - timedelta(minutes=1))
            assert not watch.is_lost()
            assert not watch.is_lost()
    assert len(changes) == 1
    assert told(run, LOST, began) == 1
