"""What is read out of what is posted, and what makes two alerts one."""

import gzip
import json
import time
import tracemalloc
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_videodb.client.models.frames import AlertFrame, read_frame
from prefect_videodb.webhooks.alert import Alert, identity
from prefect_videodb.webhooks.decode import (
    LONGEST_BODY,
    LifecycleEvent,
    Unreadable,
    decode,
    decode_all,
    of_frame,
    unpack,
)
from prefect_videodb.webhooks.lifecycle import identity_of_stage
from prefect_videodb.webhooks.mail import Letter
from prefect_videodb.webhooks.receiver import kept
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


@pytest.mark.parametrize("place", ["data", "top level"])
def test_exported_video_id_is_the_video_of_the_stage(place: str) -> None:
    stage = {"event": "capture_session.exported", "capture_session_id": "cap-1", "status": "exported", "version": "2"}
    video = {"exported_video_id": "m-1", "stream_url": "https://x/1.m3u8"}
    told = decode(json.dumps(stage | ({"data": video} if place == "data" else video)).encode())
    assert isinstance(told, LifecycleEvent)
    assert told.video_id == "m-1"
    named = decode(json.dumps(stage | {"video_id": "m-2", "data": video}).encode())
    assert isinstance(named, LifecycleEvent)
    assert named.video_id == "m-2"


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
    with pytest.raises(Unreadable):
        decode(body)


def test_an_object_of_another_kind_is_unknown() -> None:
    with pytest.raises(Unreadable):
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


# --- whatever is posted -----------------------------------------------------------------------------------------------

HOSTILE_TIMES = st.one_of(
    st.text(max_size=40),
    st.floats(),
    st.integers(-(10**30), 10**30),
    st.datetimes().map(str),
    st.from_regex(r"[-+0-9T:. Zs]{1,30}"),
    st.sampled_from([10**400, "9" * 5000, "1e999", "nan", "-inf", "0000-00-00T00:00:00Z", "١٢", " 12 s ", True, []]),
)
HOSTILE_ALERTS = st.fixed_dictionaries(
    {"event_id": st.text(max_size=5) | st.integers() | st.floats(), "label": st.text(max_size=20) | ANYTHING},
    optional={
        **dict.fromkeys(["start_time", "end_time", "timestamp", "start", "end"], HOSTILE_TIMES),
        "stream_url": st.from_regex(r"/manifests/[a-z]{0,3}/\d{0,21}-\d{0,21}\.m3u8"),
        "more": ANYTHING,
    },
).map(lambda told: json.dumps(told).encode())
HOSTILE_BODIES = st.one_of(
    HOSTILE_ALERTS,
    st.lists(HOSTILE_ALERTS | st.binary(max_size=20), max_size=4).map(lambda parts: b"[" + b",".join(parts) + b"]"),
    st.lists(HOSTILE_ALERTS, max_size=3).map(b"\n".join),
    HOSTILE_ALERTS.map(gzip.compress),
    st.tuples(HOSTILE_ALERTS, st.integers(0, 200)).map(lambda cut: zlib.compress(cut[0])[: cut[1]]),
    HOSTILE_ALERTS.map(lambda told: b"payload=" + told),
    HOSTILE_ALERTS.map(lambda told: told.decode().encode("utf-16")),
    st.binary(max_size=200),
)
CODINGS = st.sampled_from(["", "gzip", "deflate", "br", "gzip, deflate", "identity", ",,,"]) | st.text(max_size=20)
TYPES = st.text(max_size=20) | st.sampled_from(
    ["application/json", "text/plain; charset=utf-16", "x; charset=latin-1", "x; charset=zlib", "x; charset=idna"]
)


@settings(max_examples=500)
@given(HOSTILE_BODIES, CODINGS, TYPES)
def test_fuzz_bodies_and_times(body: bytes, coding: str, kind: str) -> None:
    """Each is alerts that can be kept, or a dead letter with a reason; nothing raises, and nothing is dropped."""
    unpacked, why = unpack(body, coding)
    posted = decode_all(unpacked, kind)
    assert posted.read or posted.unreadable is not None
    assert posted.unreadable is None or why or posted.reason
    for told, part in posted.read:
        letter = kept(told, "door", part)
        if isinstance(letter, Letter):
            json.dumps(letter.told, allow_nan=False).encode()
            assert len(letter.identity) == 40
        if isinstance(told, Alert):
            assert told.batch is None or told.batch[0] <= told.batch[1]


def timed(body: bytes, coding: str = "") -> float:
    """Return the least CPU time of three readings."""
    took = []
    for _ in range(3):
        began = time.process_time()
        posted = decode_all(unpack(body, coding)[0])
        for told, part in posted.read[:100]:
            kept(told, "door", part)
        took.append(time.process_time() - began)
    return min(took)


LONG = LONGEST_BODY - 200
ALERT_OF = '{"event_id": "e", "label": "x", %s}'


@pytest.mark.parametrize(
    "body",
    [
        ALERT_OF % f'"start_time": "{"1" * LONG}", "end_time": 1',
        ALERT_OF % f'"start_time": "{" " * LONG}s", "end_time": 1',
        ALERT_OF % f'"start_time": "{"1" * LONG}.", "end_time": "1{" " * 99}"',
        ALERT_OF % f'"start_time": {"1" * LONG}',
        ALERT_OF % f'"n": [{", ".join(["9" * 4400] * (LONG // 4402))}]',
        ALERT_OF % f'"stream_url": "{"/manifests/a" * (LONG // 12)}"',
        ALERT_OF % f'"explanation": "{chr(92) * (LONG // 2 * 2)}"',
        ALERT_OF % f'"n": {"[" * 400}{"]" * 400}, "m": "{"x" * LONG}"'[:LONG],
        "{" + ",".join(f'"k{n}":0' for n in range(LONG // 10)) + "}",
        "=" * LONG,
        "a=&" * (LONG // 3),
        "a=" + "%7B" * (LONG // 3),
        "{}" * (LONG // 2),
        "{} ," * (LONG // 4),
        "[" + "{}," * (LONG // 3 - 1) + "{}]",
        '"' + '{\\"a\\":1}' * (LONG // 9) + '"',
        " " * LONG + "x",
        "," * LONG,
    ],
)
def test_linear_time(body: str) -> None:
    """The longest body takes a fixed multiple of what an ordinary one takes; quadratic time would be hundreds."""
    ordinary = timed((ALERT_OF % f'"n": [{", ".join(["123"] * (LONG // 5 - 20))}]').encode())
    assert timed(body.encode()[:LONGEST_BODY]) < 60 * ordinary + 0.05


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_decompression_bomb(coding: str) -> None:
    """As much is decompressed as a body may be long, and no more."""
    bomb = gzip.compress(bytes(100_000_000)) if coding == "gzip" else zlib.compress(bytes(100_000_000))
    tracemalloc.start()
    unpacked, why = unpack(bomb[:LONGEST_BODY], coding)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (unpacked, "longer than" in why) == (bomb[:LONGEST_BODY], True)
    assert peak < 4 * LONGEST_BODY
