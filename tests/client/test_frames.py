"""What comes over the WebSocket is read as what it is, in every shape that was seen."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.client.models import (
    AlertFrame,
    AudioFrame,
    Connected,
    Frame,
    SessionFrame,
    TranscriptFrame,
    UnreadableFrame,
    VisualFrame,
)
from prefect_videodb.client.models.frames import read_frame

STREAM = {"rtstream_id": "rts-1", "rtstream_name": "Room"}


def read(body: Any) -> Frame:
    return read_frame(json.dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        {"channel": "alert", **STREAM, "data": {"label": "door", "text": "It opened", "start": 1748475396612}},
        {"channel": "alert", **STREAM, "data": {"event_label": "door", "explanation": "It opened"}},
        {"channel": "alert", **STREAM, "label": "door", "text": "It opened", "start": 1748475396612},
        {"channel": "alert", **STREAM, "event_label": "door", "explanation": "It opened", "data": None},
    ],
)
def test_an_alert_is_read_in_each_of_its_four_shapes(body: dict[str, Any]) -> None:
    frame = read(body)
    assert isinstance(frame, AlertFrame)
    assert (frame.label, frame.text) == ("door", "It opened")
    assert frame.rtstream_id == "rts-1"
    assert frame.start in {1748475396.612, None}
    assert frame.raw == body


@pytest.mark.parametrize(
    ("channel", "kind"),
    [
        ("scene_index", VisualFrame),
        ("visual_index", VisualFrame),
        ("audio_index", AudioFrame),
        ("spoken_index", AudioFrame),
        ("something_new", Frame),
    ],
)
def test_an_index_is_known_by_its_channel(channel: str, kind: type[Frame]) -> None:
    frame = read({"channel": channel, **STREAM, "data": {"text": "said or seen", "start": 1000, "end": 2500}})
    assert type(frame) is kind
    if isinstance(frame, VisualFrame | AudioFrame):
        assert (frame.text, frame.start, frame.end) == ("said or seen", 1.0, 2.5)


def test_words_that_are_not_final_say_so() -> None:
    data = {"text": "we should", "start": 1748475396612, "end": 1748475397000, "is_final": False}
    frame = read({"channel": "transcript", **STREAM, "data": data})
    assert isinstance(frame, TranscriptFrame)
    assert (frame.text, frame.is_final) == ("we should", False)
    assert (frame.start, frame.end) == (1748475396.612, 1748475397.0)


@pytest.mark.parametrize(
    ("start", "seconds"),
    [(1748475396612, 1748475396.612), (1748475396.5, 1748475396.5), (12500, 12.5), ("12.500s", 12.5), (True, None)],
)
def test_milliseconds_are_told_from_seconds(start: Any, seconds: float | None) -> None:
    frame = read({"channel": "transcript", "data": {"start": start}})
    assert isinstance(frame, TranscriptFrame)
    assert frame.start == seconds


@pytest.mark.parametrize("channel", [{"channel": "capture_session"}, {}], ids=["with channel", "without"])
def test_capture_session_frame_names_streams_and_video(channel: dict[str, str]) -> None:
    stage = {**channel, "capture_session_id": "cap-1"}
    data = {"rtstreams": [{"rtstream_id": "rts-1", "name": "Screen", "media_types": ["video"]}], "x": 1}
    active = read({**stage, "event": "capture_session.active", "status": "active", "data": data})
    assert isinstance(active, SessionFrame)
    assert (active.status, active.data) == ("active", data)
    assert [(stream.id, stream.media_types) for stream in active.rtstreams] == [("rts-1", ["video"])]
    data = {"exported_video_id": "m-1", "stream_url": "https://x/1.m3u8", "player_url": "https://x/1"}
    exported = read({**stage, "event": "capture_session.exported", "status": "exported", "data": data})
    assert isinstance(exported, SessionFrame)
    assert (exported.exported_video_id, exported.player_url) == ("m-1", "https://x/1")


@pytest.mark.parametrize("timestamp", [1748475396612, "2025-05-28T23:36:36.612000+00:00"])
def test_alert_frame_timestamp_in_milliseconds_or_iso(timestamp: Any) -> None:
    frame = read({"channel": "alert", **STREAM, "data": {"event_label": "door", "timestamp": timestamp}})
    assert isinstance(frame, AlertFrame)
    assert frame.timestamp == 1748475396.612


def test_the_first_frame_names_the_connection() -> None:
    frame = read({"connection_id": "ws-1"})
    assert isinstance(frame, Connected)
    assert frame.connection_id == "ws-1"


@pytest.mark.parametrize("message", ["ping", "", "[1, 2]", "null", "{", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_object_is_kept_as_it_came(message: str | bytes) -> None:
    frame = read_frame(message)
    assert isinstance(frame, UnreadableFrame)
    assert frame.raw == (message if isinstance(message, str) else message.decode(errors="replace"))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
names = st.sampled_from(
    ["channel", "event", "data", "text", "start", "end", "label", "is_final", "connection_id", "capture_session_id"]
)
channels = st.sampled_from(["alert", "transcript", "visual_index", "audio_index", "capture_session"])


@given(body=st.dictionaries(names, values | channels | st.dictionaries(names, values), max_size=8))
def test_there_is_no_frame_that_cannot_be_read(body: dict[str, Any]) -> None:
    text = json.dumps(body)
    frame = read_frame(text)
    assert json.dumps(frame.raw) == text
    frame.model_dump()
