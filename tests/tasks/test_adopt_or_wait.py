"""The tasks that look before they act."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from prefect_videodb.blocks import RTStreamSource, VideoDBCredentials
from prefect_videodb.errors import AnswerLost, InvalidRequest, JobUnfinished
from prefect_videodb.tasks import (
    ensure_rtstream,
    export_rtstream,
    index_spoken_words,
    search_video,
    start_rtstream,
    stop_rtstream,
)
from prefect_videodb.tasks.streams import find_streams
from tests.support.recording_server import CUT, RecordingServer, Reply, Request, envelope

SOURCE = RTStreamSource(url=SecretStr("rtsp://camera/room"))


class Service:
    """As much of the service's streams as these tests need: what it holds is what it was asked to hold."""

    def __init__(self, server: RecordingServer) -> None:
        self.streams: list[dict[str, Any]] = []
        self.before: Callable[[Request], Reply | None] = lambda _request: None
        self.after: Callable[[Request], Reply | None] = lambda _request: None
        self._lock = threading.Lock()
        server.answer = self.answer

    def add(self, name: str, status: str = "connected", **more: Any) -> dict[str, Any]:
        stream = {"id": f"rts-{len(self.streams)}", "name": name, "status": status, **more}
        self.streams.append(stream)
        return stream

    def answer(self, request: Request) -> Reply:
        with self._lock:
            return self.before(request) or self._after(request, self._act(request))

    def _after(self, request: Request, reply: Reply) -> Reply:
        return self.after(request) or reply

    def _act(self, request: Request) -> Reply:
        if request.method == "GET" and request.path == "/rtstream":
            query = dict(request.query)
            offset, limit = int(query.get("offset", 0)), int(query.get("limit", 10))
            matching = [stream for stream in self.streams if query.get("name", "") in stream["name"]]
            return envelope({"results": matching[offset : offset + limit], "count": len(matching)})
        if request.method == "POST" and request.path == "/rtstream":
            return envelope(self.add(request.json["name"]), http_status=201)
        stream = next(stream for stream in self.streams if f"/{stream['id']}" in request.path)
        if request.method == "PATCH":
            stream["status"] = {"start": "connected", "stop": "stopped"}[request.json["action"]]
        return envelope(stream)


@pytest.fixture
def held(service: RecordingServer) -> Service:
    return Service(service)


def test_a_stream_is_connected_once_and_then_adopted(account: VideoDBCredentials, held: Service) -> None:
    first = ensure_rtstream.fn(account, SOURCE, "mine")
    assert ensure_rtstream.fn(account, SOURCE, "mine").id == first.id
    assert [stream["name"] for stream in held.streams] == ["mine"]


def test_a_stream_is_found_behind_hundreds_with_names_that_hold_its_name(
    account: VideoDBCredentials, held: Service
) -> None:
    for number in range(250):
        held.add(f"mine {number}")
    wanted = held.add("mine")
    assert ensure_rtstream.fn(account, SOURCE, "mine").id == wanted["id"]
    with account.get_client() as client:
        assert len(find_streams(client, "mine")) == 251


def test_of_two_streams_of_one_name_the_first_made_is_adopted_and_the_other_is_stopped(
    account: VideoDBCredentials, held: Service
) -> None:
    later = held.add("mine", created_at="2026-11-23T09:00:01Z")
    first = held.add("mine", created_at="2026-11-23T09:00:00Z")
    assert ensure_rtstream.fn(account, SOURCE, "mine").id == first["id"]
    assert (first["status"], later["status"]) == ("connected", "stopped")


def test_a_connect_that_was_carried_out_and_not_answered_makes_no_second_stream(
    account: VideoDBCredentials, held: Service
) -> None:
    held.after = lambda request: CUT if request.method == "POST" else None
    assert ensure_rtstream.fn(account, SOURCE, "mine").name == "mine"
    assert len(held.streams) == 1


def test_a_connect_that_shows_late_is_waited_for(
    account: VideoDBCredentials, held: Service, service: RecordingServer
) -> None:
    def late(request: Request) -> Reply | None:
        if request.method == "POST":
            threading.Timer(2.5, held.add, ["mine"]).start()
            return CUT
        return None

    held.before = late
    assert ensure_rtstream.fn(account, SOURCE, "mine").name == "mine"
    assert [request.method for request in service.requests].count("POST") == 1


def test_a_connect_that_never_arrived_may_be_tried_again(account: VideoDBCredentials, held: Service) -> None:
    held.before = lambda request: CUT if request.method == "POST" else None
    with pytest.raises(AnswerLost) as lost:
        ensure_rtstream.fn(account, SOURCE, "mine")
    assert lost.value.retry_is_safe  # it has been looked for, and a repeated task looks first


def test_a_connected_stream_is_not_started_and_a_stopped_one_is(
    account: VideoDBCredentials, held: Service, service: RecordingServer
) -> None:
    running, stopped = held.add("a"), held.add("b", status="stopped")
    assert start_rtstream.fn(account, running["id"]).status == "connected"
    assert start_rtstream.fn(account, stopped["id"]).status == "connected"
    assert [request.path for request in service.requests if request.method == "PATCH"] == ["/rtstream/rts-1/status"]


def test_stopping_a_stopped_stream_is_no_failure_whatever_the_service_says(
    account: VideoDBCredentials, held: Service
) -> None:
    stream = held.add("a", status="stopped")
    held.before = lambda request: (
        envelope(http_status=400, message="not running") if request.method == "PATCH" else None
    )
    stop_rtstream.fn(account, stream["id"])
    stream["status"] = "connected"
    with pytest.raises(InvalidRequest):
        stop_rtstream.fn(account, stream["id"])


def test_an_export_that_is_not_ready_yet_is_asked_for_again(
    account: VideoDBCredentials, service: RecordingServer
) -> None:
    refusal = envelope(http_status=400, message="No recordings available")
    service.tell(refusal, refusal, envelope({"video_id": "m-1"}))
    assert export_rtstream.fn(account, "rts-1").video_id == "m-1"
    service.tell(refusal)
    with pytest.raises(InvalidRequest, match="No recordings available"):
        export_rtstream.fn(account, "rts-1", settle_s=0)


def _index(*states: str, post: Reply | None = None) -> Callable[[Request], Reply]:
    left = list(states)

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            return post or envelope({})
        return envelope(status=left.pop(0) if len(left) > 1 else left[0])

    return answer


def _posts(service: RecordingServer) -> list[dict[str, Any]]:
    return [request.json for request in service.requests if request.method == "POST"]


def test_an_index_that_is_there_is_kept_unless_it_is_forced(
    account: VideoDBCredentials, service: RecordingServer
) -> None:
    service.answer = _index("done")
    assert index_spoken_words.fn(account, "m-1").status == "done"
    assert _posts(service) == []
    index_spoken_words.fn(account, "m-1", force=True)
    assert [post["force"] for post in _posts(service)] == [True]


def test_an_index_under_way_is_waited_for_and_not_begun_again(
    account: VideoDBCredentials, service: RecordingServer
) -> None:
    service.answer = _index("processing", "processing", "done")
    assert index_spoken_words.fn(account, "m-1").status == "done"
    assert _posts(service) == []


def test_an_index_that_outlives_the_wait_says_so(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.answer = _index("processing")
    began = time.monotonic()
    with pytest.raises(JobUnfinished):
        index_spoken_words.fn(account, "m-1", timeout_s=0.0)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("status", ["failed", "none"])
def test_an_index_that_failed_or_is_not_there_is_made(
    account: VideoDBCredentials, service: RecordingServer, status: str
) -> None:
    service.answer = _index(status)
    assert index_spoken_words.fn(account, "m-1", language_code="en").status == "done"
    assert [(post["force"], post["language_code"]) for post in _posts(service)] == [(True, "en")]


@pytest.mark.parametrize("http_status", [200, 400, 500])
def test_silence_is_a_result(account: VideoDBCredentials, service: RecordingServer, http_status: int) -> None:
    silence = envelope(http_status=http_status, success=False, message="No spoken data found in the video")
    service.answer = _index("none", post=silence)
    assert index_spoken_words.fn(account, "m-1").status == "no spoken words"


def test_finding_nothing_is_an_empty_result(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.tell(envelope(http_status=400, message="No results found for this query"))
    assert search_video.fn(account, "m-1", "zebra").shots == []
