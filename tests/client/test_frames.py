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


def test_a_stage_of_a_capture_session_has_no_channel() -> None:
    body = {"event": "capture_session.active", "capture_session_id": "cap-1", "status": "active", "data": {"x": 1}}
    frame = read(body)
    assert isinstance(frame, SessionFrame)
    assert (frame.status, frame.data) == ("active", {"x": 1})


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
