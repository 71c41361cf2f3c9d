"""Whatever the service answers: a value, or an error of the tree; in linear time."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_videodb.archiving.sidecar import Sidecar
from prefect_videodb.client import (
    Call,
    account,
    alerts,
    collection,
    indexes,
    meetings,
    sessions,
    streams,
    transcripts,
    understandings,
    videos,
)
from prefect_videodb.client.answer import Answer, read, read_poll
from prefect_videodb.client.body import Body, UnreadableBody
from prefect_videodb.client.call import Job
from prefect_videodb.client.hosts import LinkRefused, LinkRule, is_public
from prefect_videodb.client.models.frames import Frame, read_frame
from prefect_videodb.client.websocket import address
from prefect_videodb.errors import VideoDBError

CALLS: list[Call[Any]] = [
    account.usage(),
    alerts.list_all("rts-1", "i-1"),
    collection.list_all(),
    indexes.list_all("rts-1"),
    indexes.scene_page("rts-1", "i-1"),
    meetings.get("meet-1"),
    sessions.list_all(),
    streams.connect("rtsp://127.0.0.1/live", "x"),
    streams.export("rts-1"),
    streams.list_page(),
    transcripts.page("rts-1"),
    understandings.list_all("rts-1"),
    understandings.record_page("rts-1", "und-1", 0, 1),
    videos.get("m-1"),
    videos.search("m-1", "x"),
    videos.spoken_word_index("m-1"),
    address(),
]
KEYS = st.sampled_from(
    [
        *("success", "status", "data", "message", "error", "detail", "response", "request_type", "output_url", "id"),
        *("percentage", "results", "count", "next_page", "transcription_records", "scene_index_records", "records"),
        *("start", "end", "text", "description", "score", "created_at", "video_id", "duration", "shots", "name"),
        *("channel", "event", "connection_id", "websocket_url", "timestamp", "metadata", "alerts", "scene_indexes"),
    ]
)
TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "processing",
        "done",
        "NaN",
        "1e999",
        "12.5s",
        "2026-02-30",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01",
        "transcript",
    ]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**308), 2**63, 1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=6),
    max_leaves=20,
)
BODIES = st.binary(max_size=200) | st.builds(
    lambda value: json.dumps(value).encode(), JSON | st.dictionaries(KEYS, JSON)
)
STATUSES = st.sampled_from([200, 200, 200, 201, 302, 400, 404, 429, 500, 503])
HEADERS = st.dictionaries(st.sampled_from(["retry-after", "location"]), st.text(max_size=40))


@settings(max_examples=200)
@given(call=st.sampled_from(CALLS), status=STATUSES, headers=HEADERS, body=BODIES)
def test_answers(call: Call[Any], status: int, headers: dict[str, str], body: bytes) -> None:
    answer = Answer(status, headers, body, ("sk-a-secret",), host="http://127.0.0.1:1")
    with suppress(VideoDBError):
        read(call, answer)
    with suppress(VideoDBError):
        read_poll(Job(call, "/r"), answer)


@settings(max_examples=200)
@given(message=st.text(max_size=100) | BODIES)
def test_frames(message: str | bytes) -> None:
    assert isinstance(read_frame(message), Frame)


@settings(max_examples=200)
@given(
    chunks=st.lists(st.binary(max_size=50), max_size=5),
    encoding=st.text(max_size=20) | st.sampled_from(["gzip", "deflate", "identity", "gzip,gzip"]),
    length=st.none() | st.integers(),
)
def test_bodies(chunks: list[bytes], encoding: str, length: int | None) -> None:
    with suppress(UnreadableBody, httpx.DecodingError):
        body = Body(encoding, length)
        for chunk in chunks:
            body.add(chunk)
        body.finish()


@settings(max_examples=200)
@given(
    host=st.text(max_size=20) | st.ip_addresses().map(str) | st.ip_addresses(v=6).map(lambda found: f"[{found}]"),
    scheme=st.sampled_from(["http", "https", "ws", "file", "HTTP"]),
    proxied=st.booleans(),
)
def test_links(host: str, scheme: str, proxied: bool) -> None:  # noqa: FBT001 - hypothesis gives arguments by name
    with suppress(LinkRefused, httpx.InvalidURL, ValueError):
        LinkRule("http://127.0.0.1:1").check(httpx.URL(f"{scheme}://{host}/x"), proxied=proxied)


@given(found=st.ip_addresses(v=4))
def test_address_counts_in_each_spelling(found: Any) -> None:
    public = is_public(str(found))
    number = int(found)
    assert is_public(f"::ffff:{found}") is public
    assert is_public(f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}") is public
    assert is_public(f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1") is public
    assert not public or found.is_global


@given(content=BODIES)
def test_sidecars(content: bytes) -> None:
    assert Sidecar.read(content, "m-1") is None


def _took_s(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    with suppress(VideoDBError):
        do()
    return time.perf_counter() - began


@pytest.mark.parametrize(
    "piece", [b" ", b"9", b"[", b'"', b"\\", b"://", b"a@", b"<", b"{", b'{"token":', b"no spoken "]
)
def test_linear_time(piece: bytes) -> None:
    def reading(size: int) -> Callable[[], object]:
        text = (piece * size)[:size]
        bodies = [text, json.dumps({"success": False, "message": text.decode()}).encode()]
        answers = [
            Answer(status, {"retry-after": "9" * size}, body, ("sk-1",)) for body in bodies for status in (200, 503)
        ]
        return lambda: [_took_s(lambda answer=answer: read(CALLS[0], answer)) for answer in answers]

    _took_s(reading(1000))
    small = min(_took_s(reading(200_000)) for _ in range(3))
    large = min(_took_s(reading(800_000)) for _ in range(3))
    assert large < 12 * small + 0.05  # four times as much; sixteen times would be quadratic
