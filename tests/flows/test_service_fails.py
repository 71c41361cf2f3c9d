"""A recording goes on, or ends cleanly, though the service, its source, its network or Prefect fails."""

import signal
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource
from prefect_videodb.flows import record_meeting
from prefect_videodb.local_server import LocalServer
from prefect_videodb.local_server.media.rtsp_server import LoopingRTSPServer
from prefect_videodb.recording.changing import set_recording_end
from tests.flows.conftest import (
    HOLDING,
    SHORT,
    Account,
    Run,
    kill_while_it_records,
    result_of,
    the_one_stopped_stream,
)
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.media import make_still
from tests.support.no_camera import no_camera
from tests.support.prefect_server import PrefectServer, running_prefect_server
from tests.support.processes import stopped, wait_for


@pytest.mark.parametrize("fault", ["cut before", "cut after"])
def test_a_connect_whose_answer_is_lost_makes_one_stream(
    account: Account, deployed: str, proxy: FaultyProxy, fault: Any
) -> None:
    proxy.rules = [Rule("POST", r"/rtstream$", fault)]
    run = Run.of(deployed, queries=[], **SHORT)
    recording = result_of(run.finish())
    assert the_one_stopped_stream(account, run)["id"] == recording.rtstream_id
    assert proxy.seen.count("POST /rtstream") == (1 if fault == "cut after" else 2)


def test_a_service_that_stumbles_at_every_step_is_asked_again(
    account: Account, deployed: str, proxy: FaultyProxy
) -> None:
    proxy.rules = [
        Rule("GET", r"/rtstream\?", 503),
        Rule("POST", r"/rtstream$", 429, headers={"retry-after": "1"}),
        Rule("PATCH", r"/status$", "cut after"),
        Rule("GET", r"/stream\?", 502),
        Rule("POST", r"/export$", "cut after"),
        Rule("GET", r"/video/[^/]+\?", 500),
        Rule("POST", r"/index$", "cut after"),
        Rule("GET", r"/async-response/", "cut before"),
        Rule("POST", r"/search$", 504),
        Rule("POST", r"/compile$", "cut before"),
    ]
    run = Run.of(deployed, duration_minutes=0.5, queries=["action items"])
    recording = result_of(run.finish())
    assert recording.clip is not None
    the_one_stopped_stream(account, run)


def test_a_prefect_server_that_hangs_does_not_delay_the_stop(
    account: Account, videodb: LocalServer, tmp_path: Path
) -> None:
    """The server is frozen while it records, looks for a moved end included, and thawed when the stream is stopped."""
    assert videodb.sample_url
    source = RTStreamSource(url=SecretStr(videodb.sample_url), name="Frozen")
    title = f"frozen {tmp_path.name}"
    stopped_in_time: list[bool] = []

    def freeze(server: PrefectServer) -> None:
        try:
            wait_for("it records", lambda: account.streams(title))
            time.sleep(4)
            server.process.send_signal(signal.SIGSTOP)
            wait_for("the stream is stopped", lambda: account.streams(title)[0]["status"] == "stopped")
            stopped_in_time.append(True)
        finally:
            server.process.send_signal(signal.SIGCONT)

    with running_prefect_server(tmp_path) as server, temporary_settings({PREFECT_API_URL: server.url}):
        freezer = threading.Thread(target=freeze, args=(server,))
        freezer.start()
        recording = record_meeting.with_options(persist_result=False)(
            source, account.block, 0.6, name=title, queries=[]
        )
        freezer.join()
    assert stopped_in_time
    assert recording.video_length_s == pytest.approx(36, abs=15)
    assert recording.video_length_s


def test_what_was_recorded_before_a_stop_in_between_is_kept_and_what_is_missing_is_said(
    account: Account, deployed: str
) -> None:
    run = Run.of(deployed, duration_minutes=0.7, queries=[], options=HOLDING)
    kill_while_it_records(account, run)
    account.stop_all()
    time.sleep(3)
    run.schedule_again()
    recording = result_of(run.finish())
    assert the_one_stopped_stream(account, run)["id"] == recording.rtstream_id
    [earlier] = recording.earlier_video_ids
    assert earlier != recording.video_id
    assert recording.video_length_s is not None
    assert recording.missing_s > 5
    [missing] = recording.missing
    assert missing.end - missing.start > timedelta(seconds=3)
    assert recording.window.start < missing.start < missing.end < recording.window.end
    assert f"An earlier part is the video {earlier}" in run.artifacts()["meeting-recording"]["data"]


def test_a_source_that_is_not_up_yet_is_recorded_from_when_it_is(
    account: Account, deployed: str, tmp_path: Path
) -> None:
    still = make_still(tmp_path / "still.mp4")
    with ExitStack() as running:
        with no_camera() as port:
            url = SecretStr(f"rtsp://127.0.0.1:{port}/meeting")
            RTStreamSource(url=url, name="Camera", media_types=["video"]).save("late-camera", overwrite=True)
            run = Run.of(deployed, source="late-camera", duration_minutes=30.0, queries=[], options=HOLDING)
            process = running.enter_context(stopped(run.execute()))
            wait_for("the service gives it up", lambda: account.statuses(run) == ["error"])
        running.enter_context(LoopingRTSPServer(still, port=port))
        wait_for("something is recorded", lambda: account.statuses(run) != ["error"] and account.has_recorded(run))
        set_recording_end.fn(run.id)
        process.wait(120)
    recording = result_of(run.read())
    assert recording.video_length_s
    assert recording.missing_s > 0
    the_one_stopped_stream(account, run)


def test_a_recording_whose_source_is_gone_hears_that_it_is_to_end_and_keeps_what_there_is(
    account: Account, deployed: str, tmp_path: Path
) -> None:
    still = make_still(tmp_path / "still.mp4")
    with LoopingRTSPServer(still) as camera:
        source = RTStreamSource(url=SecretStr(camera.url), name="Camera", media_types=["video"])
        source.save("camera", overwrite=True)
        title = f"source gone {tmp_path.name}"
        run = Run.of(deployed, source="camera", name=title, duration_minutes=30.0, queries=[], options=HOLDING)
        kill_while_it_records(account, run)
    account.stop_all()
    run.schedule_again()
    port = urlsplit(camera.url).port or 0
    with no_camera(port), stopped(run.execute()) as process:
        wait_for("the service gives it up", lambda: account.statuses(run) == ["error"])
        set_recording_end.fn(run.id)
        process.wait(120)
    recording = result_of(run.read())
    the_one_stopped_stream(account, run)
    assert [video["id"] for video in account.videos(title)] == [recording.video_id]
