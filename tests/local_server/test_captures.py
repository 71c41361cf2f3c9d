"""Capture sessions and meeting bots, on local media."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from prefect_videodb.local_server import LocalServer
from tests.support.receiver import Receiver, running_receiver

WaitUntil = Callable[..., Any]
SESSIONS = "/collection/default/capture/session"
CHANNELS = [
    {"channel_id": "mic", "channel_name": "Microphone", "type": "audio"},
    {"channel_id": "screen", "channel_name": "Screen 1", "type": "video", "is_primary": True},
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as server:
        yield server


def test_a_session_is_captured_and_exported_and_tells_its_stages(
    api: Any, receiver: Receiver, wait_until: WaitUntil
) -> None:
    address = api.data("GET", "/collection/default/websocket")["websocket_url"]
    with connect(address) as socket:
        connection_id = json.loads(socket.recv(timeout=60))["connection_id"]
        body = {"end_user_id": "anna", "metadata": {"team": "x"}, "callback_url": receiver.url}
        created = api.data("POST", SESSIONS, json=body | {"ws_connection_id": connection_id})
        session_id = created["session_id"]
        assert created["status"] == "created"
        assert created["rtstreams"] == []
        assert "stop it first" in api.refusal("POST", f"{SESSIONS}/{session_id}/export", json={})[1]
        api.data("POST", "/capture/session/start", json={"session_id": session_id, "channels": CHANNELS})
        active = api.data("GET", f"{SESSIONS}/{session_id}")
        assert active["status"] == "active"
        streams = {stream["channel_id"]: stream for stream in active["rtstreams"]}
        assert streams["mic"]["media_types"] == ["audio"]
        assert streams["screen"]["media_types"] == ["video"]
        wait_until(lambda: api.recorded_s(streams["screen"]["rtstream_id"], 1) > 2)
        again = {"session_id": session_id, "channels": CHANNELS}
        assert api.refusal("POST", "/capture/session/start", json=again)[0] == 400
        assert api.data("POST", f"/capture/session/{session_id}/stop")["status"] == "stopped"

        # It is exported by itself: nobody asks for it.
        frames = [json.loads(socket.recv(timeout=60)) for _ in range(6)]
    done = api.data("GET", f"{SESSIONS}/{session_id}")
    assert done["export_status"] == "exported"
    export = api.data("POST", f"{SESSIONS}/{session_id}/export", json={})
    assert export["export_status"] == "exported"
    assert export["video_channel_id"] == "screen"
    assert {frame["channel"] for frame in frames} == {"capture_session"}
    active_frame, exported_frame = frames[2]["data"], frames[5]["data"]
    assert [stream["rtstream_id"] for stream in active_frame["rtstreams"]] == [
        stream["rtstream_id"] for stream in active["rtstreams"]
    ]
    assert active_frame["rtstreams"][1]["media_types"] == ["video"]
    for place in (exported_frame, done, {**export, "exported_video_id": export["video_id"]}):
        assert place["exported_video_id"] == export["video_id"]
        assert place["stream_url"] == export["stream_url"]
        assert place["player_url"] == export["player_url"]
    assert httpx.get(export["player_url"]).is_success
    assert api.data("GET", f"/video/{export['video_id']}")["id"] == export["video_id"]
    stages = ["created", "starting", "active", "stopping", "stopped", "exported"]
    assert [frame["event"] for frame in frames] == [f"capture_session.{stage}" for stage in stages]
    assert {frame["capture_session_id"] for frame in frames} == {session_id}
    told = [receiver.take() for _ in range(6)]
    assert {body["status"] for body in told} == set(stages)
    assert {body["end_user_id"] for body in told} == {"anna"}
    assert {body["version"] for body in told} == {"2"}
    sessions = api.data("GET", SESSIONS, params={"status": "exported"})["sessions"]
    [listed] = [session for session in sessions if session["session_id"] == session_id]
    assert listed["metadata"] == {"team": "x"}
    assert all(stream["status"] == "stopped" for stream in listed["rtstreams"])


def test_a_token_for_a_capture_client_says_how_long_it_is_good(api: Any) -> None:
    token = api.data("POST", "/capture/session/token", json={"expires_in": 60})
    assert token["token"].startswith("st-")
    assert token["expires_in"] == 60
    assert api.refusal("POST", "/capture/session/token", json={"expires_in": 0})[0] == 400


def test_session_token_is_accepted_until_it_expires(api: Any, wait_until: WaitUntil) -> None:
    token = api.data("POST", "/capture/session/token", json={"expires_in": 2})["token"]

    def status(given: str) -> int:
        return int(httpx.get(f"{api.base_url}/collection", headers={"x-access-token": given}).status_code)

    assert status(token) == 200
    head, _, signature = token.partition(".")
    for forged in (f"{head}0.{signature}", f"{head}.", head, f"st-99999999999.{signature}", "st-", "st-x.y"):
        assert status(forged) == 401, forged
    wait_until(lambda: status(token) == 401)


def test_session_of_nothing_seen_fails_its_export(api: Any, wait_until: WaitUntil) -> None:
    session_id = api.data("POST", SESSIONS, json={"end_user_id": "anna", "callback_url": ""})["session_id"]
    channels = [{"channel_id": "screen", "type": "video", "store": False}]
    api.data("POST", "/capture/session/start", json={"session_id": session_id, "channels": channels})
    api.data("POST", f"/capture/session/{session_id}/stop")
    failed = wait_until(lambda: (s := api.data("GET", f"{SESSIONS}/{session_id}"))["export_status"] == "failed" and s)
    assert failed["exported_video_id"] is None


def test_a_bot_records_a_meeting(api: Any, receiver: Receiver, wait_until: WaitUntil) -> None:
    body = {
        "meeting_url": "https://meet.example/abc",
        "bot_name": "Recorder",
        "bot_image_url": None,
        "meeting_title": "Weekly",
        "callback_url": receiver.url,
        "callback_data": {"mine": "42"},
        "time_zone": "UTC",
    }
    meeting_id = api.data("POST", "/collection/default/meeting/record", json=body)["meeting_id"]
    path = f"/collection/default/meeting/{meeting_id}"
    wait_until(lambda: api.data("GET", path)["status"] == "recording")
    done = wait_until(lambda: (m := api.data("GET", path))["status"] == "done" and m)
    video = api.data("GET", f"/video/{done['video_id']}")
    assert video["name"] == "Weekly"
    assert float(video["length"]) > 5
    assert api.data("GET", f"/video/{done['video_id']}/meeting")["meeting_id"] == meeting_id
    told = receiver.take()
    assert told["data"] == {"video_id": done["video_id"], "mine": "42"}
    assert meeting_id not in json.dumps(told)
    streams = api.data("GET", "/rtstream", params={"name": "Weekly"})["results"]
    assert {stream["status"] for stream in streams} <= {"stopped"}


def test_a_bot_that_hears_nothing_fails_and_leaves_no_stream(api: Any, tmp_path: Path, wait_until: WaitUntil) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"no media")
    body = {"meeting_url": f"file://{tmp_path}/empty.mp4", "meeting_title": "Nothing there", "callback_data": {}}
    meeting_id = api.data("POST", "/collection/default/meeting/record", json=body)["meeting_id"]
    failed = wait_until(
        lambda: (m := api.data("GET", f"/collection/default/meeting/{meeting_id}"))["status"] == "failed" and m
    )
    assert "No recordings available" in failed["message"]
    [stream] = api.data("GET", "/rtstream", params={"name": "Nothing there"})["results"]
    assert stream["status"] != "connected"


def test_without_the_sample_there_is_nothing_to_capture(data: Path, key: str, make_api: Any) -> None:
    with LocalServer(data, api_key=key, sample=False) as server, make_api(server.base_url) as api:
        session_id = api.data("POST", SESSIONS, json={"end_user_id": "anna"})["session_id"]
        start = {"session_id": session_id, "channels": CHANNELS}
        assert api.refusal("POST", "/capture/session/start", json=start)[0] == 501
        body = {"meeting_url": "https://meet.example/abc"}
        assert api.refusal("POST", "/collection/default/meeting/record", json=body)[0] == 501
