"""What is read out of what is posted, and what makes two alerts one."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.client.models.frames import AlertFrame, read_frame
from prefect_videodb.webhooks.alert import Alert, identity
from prefect_videodb.webhooks.decode import LifecycleEvent, Malformed, Unknown, decode, of_frame
from prefect_videodb.webhooks.lifecycle import identity_of_stage
from tests.webhooks.conftest import RECORDED

STREAM = "rts-019711a0-0fde-7911-b282-25bc0b4ecf65"


def read(body: Any) -> Alert:
    told = decode(json.dumps(body).encode())
    assert isinstance(told, Alert)
    return told


def test_the_recorded_alert_is_read_whole() -> None:
    alert = read(RECORDED)
    assert alert.label == "door_opened"
    assert alert.stream == STREAM
    assert alert.batch is not None
    assert alert.batch[0] == datetime(2025, 5, 28, 23, 36, 36, 612197, tzinfo=UTC)
    assert alert.told_at == datetime(2025, 5, 28, 23, 36, 39, 979133, tzinfo=UTC)
    assert alert.explanation == RECORDED["explanation"]


def test_what_is_not_known_is_kept() -> None:
    assert read(RECORDED | {"camera": {"floor": 2}}).model_dump()["camera"] == {"floor": 2}


@pytest.mark.parametrize(
    "times",
    [
        {"start_time": "2025-05-28T23:36:36.612197+00:00", "end_time": "2025-05-28T23:36:46.612197+00:00"},
        {"start_time": 1748475396.612197, "end_time": 1748475406.612197},
        {"start_time": "1748475396.612197", "end_time": "1748475406.612197s"},
        {"start_time": 1748475396612, "end_time": 1748475406612},
        {"timestamp": "later", "confidence": 0.5, "explanation": "Told once more."},
        {"event_id": "3adc40d26d6fed0d"},
    ],
)
def test_the_same_firing_is_one_however_its_times_are_told(times: dict[str, Any]) -> None:
    assert identity(read(RECORDED | times), "door") == identity(read(RECORDED), "door")


@pytest.mark.parametrize(
    "other",
    [
        {"event_id": "event-0"},
        {"start_time": "2025-05-29T05:06:37.612197+05:30"},
        {"end_time": "2025-05-29T05:06:47.612197+05:30"},
    ],
)
def test_another_event_or_moment_is_another_firing(other: dict[str, Any]) -> None:
    assert identity(read(RECORDED | other), "door") != identity(read(RECORDED), "door")
    assert identity(read(RECORDED), "window") != identity(read(RECORDED), "door")


def test_two_cameras_that_see_the_same_at_the_same_time_are_two_alerts() -> None:
    other = RECORDED["stream_url"].replace(STREAM, "rts-2")
    seen = [RECORDED, RECORDED | {"stream_url": other}, RECORDED | {"rtstream_id": "rts-3"}]
    assert len({identity(read(alert), "door") for alert in seen}) == 3


def test_without_times_the_range_of_the_manifest_counts() -> None:
    bare = {key: RECORDED[key] for key in ("event_id", "label", "stream_url")}
    assert identity(read(bare), "r") == identity(read(bare | {"explanation": "again"}), "r")
    moved = bare | {"stream_url": bare["stream_url"].replace("5396", "5397")}
    assert identity(read(bare), "r") != identity(read(moved), "r")


def test_seconds_of_a_stream_are_of_that_stream() -> None:
    relative = {"event_id": "e", "label": "x", "start_time": "12.500s", "end_time": 14}
    one, other = relative | {"rtstream_id": "rts-1"}, relative | {"rtstream_id": "rts-2"}
    assert identity(read(one), "r") != identity(read(other), "r")


@pytest.mark.parametrize(
    "frame",
    [
        {"channel": "alert", "rtstream_id": STREAM, "data": RECORDED},
        {"channel": "alert", **RECORDED},
        {
            "channel": "alert",
            "rtstream_id": STREAM,
            "event_id": RECORDED["event_id"],
            "event_label": "door_opened",
            "data": {"text": "The door is open.", "start": 1748475396612, "end": 1748475406612},
        },
    ],
)
def test_an_alert_of_the_websocket_is_the_same_one(frame: dict[str, Any]) -> None:
    read_as = read_frame(json.dumps(frame))
    assert isinstance(read_as, AlertFrame)
    assert identity(of_frame(read_as), "door") == identity(read(RECORDED), "door")


def test_stages_are_read_and_told_apart() -> None:
    session = {"version": 1, "event": "capture_session.active", "capture_session_id": "cap-1", "status": "active"}
    told = decode(json.dumps(session).encode())
    assert isinstance(told, LifecycleEvent)
    assert told.event == "capture_session.active"
    again = LifecycleEvent.model_validate(session | {"timestamp": "later"})
    assert identity_of_stage(again, "r") == identity_of_stage(told, "r")
    stopped = LifecycleEvent.model_validate(session | {"event": "capture_session.stopped"})
    assert identity_of_stage(stopped, "r") != identity_of_stage(told, "r")
    meeting = decode(json.dumps({"status": "done", "video_id": "m-1", "speaker_timeline": []}).encode())
    assert isinstance(meeting, LifecycleEvent)
    assert meeting.event == "meeting.done"


def test_a_meeting_is_told_with_its_video_and_what_the_caller_wanted_back() -> None:
    body = {"success": True, "status": "done", "data": {"video_id": "m-1", "whose": "ours"}}
    told = decode(json.dumps(body).encode())
    assert isinstance(told, LifecycleEvent)
    assert (told.event, told.status, told.video_id) == ("meeting.done", "done", "m-1")
    assert told.data == body["data"]
    other = decode(json.dumps(body | {"data": {"video_id": "m-2"}}).encode())
    assert isinstance(other, LifecycleEvent)
    assert identity_of_stage(other, "r") != identity_of_stage(told, "r")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"alert"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'{"label": NaN}'],
)
def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode(body)


def test_an_object_of_another_kind_is_unknown() -> None:
    with pytest.raises(Unknown):
        decode(b'{"hello": "world"}')


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*RECORDED, "text", "start", "end", "rtstream_id"], ANYTHING)))
def test_whatever_the_known_keys_hold_it_is_read_and_has_an_identity(body: dict[str, Any]) -> None:
    encoded = json.dumps(body | {"event_id": body.get("event_id"), "label": body.get("label")}).encode()
    alert = decode(encoded)
    assert isinstance(alert, Alert)
    assert identity(alert, "r") == identity(decode(encoded), "r")  # type: ignore[arg-type] # the same kind
    json.dumps(alert.model_dump(mode="json"))
