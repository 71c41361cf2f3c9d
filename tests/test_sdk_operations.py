"""The vendor's own SDK, unmodified, in both versions, runs every operation that it has against the local server."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer
from tests.client.test_same_bytes_as_the_sdk import CASES
from tests.support.faulty_proxy import FaultyProxy
from tests.support.sdk import VERSIONS, Sdk, SdkError
from tests.support.speech import OneSentence

KEY = "sk-operations"
_OLDER, _NEWER = VERSIONS

COLLECTIONS = """
made = conn.create_collection(name="Board", description="of the board")
assert conn.get_collection(made.id).name == "Board"
assert made.id in [collection.id for collection in conn.get_collections()]
assert conn.check_usage() is not None
"""

CONNECT = """
collection = conn.get_collection()
stream = collection.connect_rtstream(
    url=args["url"], name="Operations", media_types=["audio", "video"], store=True, sample_rate=15
)
assert collection.get_rtstream(stream.id).name == "Operations"
assert stream.id in [found.id for found in collection.list_rtstreams(limit=50, status="connected", name="Oper")]
stream.start_transcript()
visuals = stream.index_visuals(batch_config={"type": "time", "value": 2, "frame_count": 1}, name="seen")
audio = stream.index_audio(batch_config={"type": "sentence", "value": 1}, name="said")
words = stream.index_spoken_words(segmenter="word", length=5, name="words")
scenes = stream.index_scenes(name="scenes")
assert visuals.extraction_config == {"time": "2", "frame_count": "1"}
assert {index.rtstream_index_id for index in stream.list_scene_indexes()} == {
    index.rtstream_index_id for index in (visuals, audio, words, scenes)
}
event_id = conn.create_event(event_prompt="product meeting", label="shown")
assert event_id in [event["event_id"] for event in conn.list_events()]
alert_id = visuals.create_alert(event_id, callback_url="http://127.0.0.1:9/hook")
assert audio.create_alert(event_id, callback_url="")
visuals.disable_alert(alert_id)
assert visuals.list_alerts()[0]["status"] == "disabled"
visuals.enable_alert(alert_id)
assert visuals.list_alerts()[0]["status"] == "enabled"
result = {"stream": stream.id, "visuals": visuals.rtstream_index_id, "audio": audio.rtstream_index_id}
"""

LOOK = """
import time
stream = conn.get_collection().get_rtstream(args["stream"])
visuals, audio = stream.get_scene_index(args["visuals"]), stream.get_scene_index(args["audio"])
ends_at = time.time() + 110
while time.time() < ends_at:
    seen, said = visuals.get_scenes(), audio.get_scenes(start=0, end=int(time.time()) + 60)
    heard = stream.get_transcript()
    if seen and seen["scenes"] and said and said["scenes"] and heard["transcription_records"]:
        break
    time.sleep(0.5)
assert "mostly white" in seen["scenes"][0]["description"] == seen["scenes"][0]["text"], seen
assert said["scenes"][0]["description"]
assert heard["transcription_records"][0]["word_timestamps"]
audio.stop()
audio.start()
assert stream.stop_transcript()["status"] == "stopped"
found = stream.search("white", index_id=visuals.rtstream_index_id).get_shots()
assert found and found[0].scene_index_id == visuals.rtstream_index_id
assert found[0].generate_stream()
collection = conn.get_collection()
find = getattr(collection, "legacy_search", collection.search)
everywhere = find("white", namespace="rtstream", result_threshold=100).get_shots()
assert stream.id in {shot.rtstream_id for shot in everywhere}
"""

UNDERSTAND = """
import time
stream = conn.get_collection().get_rtstream(args["stream"])
understanding = stream.understand(
    segmentation={"type": "time", "window": "2s"}, analyzers=[{"type": "vlm", "name": "scene", "config": {}}]
)
ends_at = time.time() + 110
while time.time() < ends_at:
    records = understanding.get_records(0, int(time.time()) + 60)["records"]
    if records:
        break
    time.sleep(0.5)
assert records
index = stream.index(understanding.outputs["scene"], name="facts")
assert index.get_records()["records"]
alert_id = index.create_alert(conn.list_events()[0]["event_id"], callback_url="http://127.0.0.1:9/hook")
index.disable_alert(alert_id)
index.enable_alert(alert_id)
assert index.list_alerts()[0]["alert_id"] == alert_id
assert stream.get_understanding(understanding.id).status == "running"
assert [item.id for item in stream.list_understanding()] == [understanding.id]
assert stream.get_index(index.id).source_understanding_id == understanding.id
assert [item.id for item in stream.list_indexes()] == [index.id]
for running in (index, understanding):
    running.stop()
    assert running.refresh().status == "stopped"
    running.start()
    assert running.refresh().status == "running"
"""

STOP = """
import time
stream = conn.get_collection().get_rtstream(args["stream"])
stream.stop()
assert stream.generate_stream(int(args["since"]), int(time.time()))
# What was recorded since the stream was started last: words were heard in it.
video_id = stream.export(name="Operations").video_id
assert stream.export().video_id == video_id
stream.start()
stream.stop()
result = video_id
"""

VIDEO = """
video = conn.get_collection().get_video(args["video"])
video.index_spoken_words()
assert video.get_transcript() is not None
assert isinstance(video.get_transcript_text(), str)
index_id = video.index_scenes(extraction_type="time", extraction_config={"time": 2, "frame_count": 1}, name="seen")
assert index_id in [index["scene_index_id"] for index in video.list_scene_index()]
assert "mostly white" in video.get_scene_index(index_id)[0]["description"]
find = getattr(video, "legacy_search", video.search)
found = find("white", search_type="semantic", index_type="scene", scene_index_id=index_id)
assert found.get_shots()
assert found.compile()
assert conn.download(found.get_shots()[0].stream_url or found.compile(), "part")
if hasattr(video, "clip"):
    assert video.clip("white", "visual", "basic").get_shots()
video.delete_scene_index(index_id)
assert video.generate_thumbnail().startswith("http")
picture = video.generate_thumbnail(time=1.0)
assert picture.url in [image.url for image in video.get_thumbnails()]
assert video.get_meeting() is None
"""

NEWER_SEARCH = """
from videodb.exceptions import InvalidRequestError
for target in (conn.get_collection().get_video(args["video"]), conn.get_collection()):
    assert list(target.search("white")) == []
    assert target.aggregate() == []
    for call in (lambda: target.semantic_search("white"), lambda: target.query(), lambda: target.ask("Why?")):
        try:
            call()
        except InvalidRequestError:
            continue
        raise AssertionError("nothing was to be found")
"""

# A capture app's backend: the `active` frame opens an index on each stream, the `exported` frame names the video. The
# desktop client's two requests, a program of its own, are made with the token that it would have.
SESSIONS = """
import asyncio
import requests
import time

async def work():
    socket = await conn.connect_websocket().connect()
    collection = conn.get_collection()
    session = collection.create_capture_session(
        end_user_id="anna", metadata={"team": "x"}, ws_connection_id=socket.connection_id
    )
    assert session.id in [known.id for known in collection.list_capture_sessions(status="created")]
    token = conn.generate_client_token(expires_in=600)
    assert videodb.connect(session_token=token, base_url=args["direct"]).get_collections()
    headers = {"x-access-token": token}
    channels = [{"channel_id": "mic", "type": "audio"}, {"channel_id": "screen", "type": "video", "is_primary": True}]
    start = {"session_id": session.id, "channels": channels}
    requests.post(args["direct"] + "/capture/session/start", json=start, headers=headers)
    async with asyncio.timeout(110):
        async for frame in socket.receive():
            if frame["channel"] == "capture_session" and frame["event"] == "capture_session.active":
                for found in frame["data"]["rtstreams"]:
                    stream = collection.get_rtstream(found["rtstream_id"])
                    index = stream.index_visuals() if "video" in found["media_types"] else stream.index_audio()
                    assert index.rtstream_index_id
                active = collection.get_capture_session(session.id)
                assert active.status == "active"
                assert len(active.get_rtstream("mic")) == len(active.get_rtstream("SCREEN")) == 1
                await asyncio.sleep(4)
                requests.post(args["direct"] + f"/capture/session/{session.id}/stop", headers=headers)
            elif frame["channel"] == "capture_session" and frame["event"] == "capture_session.exported":
                break
    await socket.close()
    exported = collection.get_capture_session(session.id)
    assert exported.export_status == "exported"
    assert exported.exported_video_id == frame["data"]["exported_video_id"] == exported.export()["video_id"]
    assert collection.get_video(exported.exported_video_id)

asyncio.run(work())
"""

MEETING = """
import time
collection = conn.get_collection()
meeting = collection.record_meeting(meeting_url="https://meet.example/abc", bot_name="Recorder", meeting_title="Weekly")
assert meeting.wait_for_status("done", timeout=120, interval=1), meeting.status
assert collection.get_meeting(meeting.id).is_completed
video = collection.get_video(meeting.video_id)
assert video.get_meeting().id == meeting.id
video.delete()
"""

SOCKET = """
import asyncio
async def listen():
    socket = await conn.connect_websocket().connect()
    stream = conn.get_collection().connect_rtstream(
        url=args["url"], name="Socket", media_types=["audio", "video"], enable_transcript=True,
        ws_connection_id=socket.connection_id,
    )
    try:
        async with asyncio.timeout(110):
            async for frame in socket.receive():
                return frame
    finally:
        stream.stop()
        await socket.close()
result = asyncio.run(listen())
"""


@pytest.fixture(scope="module")
def videodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("videodb"), api_key=KEY, speech=OneSentence()) as server:
        yield server


@pytest.fixture(scope="module", params=VERSIONS)
def sdk(request: pytest.FixtureRequest) -> Iterator[Sdk]:
    with Sdk(request.param) as running:
        yield running


def _form(method: str, path: str) -> tuple[str, str]:
    """Tell the operation that a request is of: its path with the ids left out."""
    parts = path.partition("?")[0].strip("/").split("/")
    ids = r"rts-|m-z-|a-|c-|und-|idx-|cap-|mtg-|mt-|x-|job-|al-|e-|d-|[0-9a-f]{16}$|a1b2$|default$"
    return method, "/".join("{}" if re.match(ids, part) else part for part in parts)


def _expected(version: str) -> set[tuple[str, str]]:
    """List what the client's operations ask for, as far as this SDK has them."""
    calls = [case.operation(**case.arguments) for case in CASES if not case.needs or version == _NEWER]
    return {_form(call.method, call.path) for call in calls}


def test_every_operation_that_the_sdk_has_is_done(sdk: Sdk, videodb: LocalServer) -> None:
    since = time.time()
    with FaultyProxy(videodb.base_url).running() as proxy:

        def run(code: str, **arguments: Any) -> Any:
            return sdk.run(code, base_url=proxy.url, api_key=KEY, **arguments)

        run(COLLECTIONS)
        running = run(CONNECT, url=videodb.sample_url)
        run(LOOK, **running)
        if sdk.version == _NEWER:
            run(UNDERSTAND, **running)
        video_id = run(STOP, **running, since=since)
        run(VIDEO, video=video_id)
        if sdk.version == _NEWER:
            run(NEWER_SEARCH, video=video_id)
        run(SESSIONS, direct=videodb.base_url)
        run(MEETING)
        seen = {_form(*request.split(" ", 1)) for request in proxy.seen}
    assert _expected(sdk.version) <= seen


def test_the_sdks_websocket_hears_what_is_said(sdk: Sdk, videodb: LocalServer) -> None:
    frame = sdk.run(SOCKET, base_url=videodb.base_url, api_key=KEY, url=videodb.sample_url)
    assert frame["channel"] == "transcript"
    assert frame["data"]["text"]


def test_what_the_local_server_cannot_do_it_says(sdk: Sdk, videodb: LocalServer) -> None:
    code = 'conn.get_collection().generate_text("What is a meeting?")'
    with pytest.raises(SdkError, match="local server"):
        sdk.run(code, base_url=videodb.base_url, api_key=KEY)
