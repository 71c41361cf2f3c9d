"""What the service answers, in every form it is known or feared to, is read alike by both clients."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from prefect_videodb.client import Call, Job, Polling, streams, videos
from prefect_videodb.client.models import Export, Video
from prefect_videodb.errors import (
    AnswerLost,
    AuthenticationError,
    InvalidRequest,
    JobFailed,
    JobUnfinished,
    NoSpokenWords,
    NotFound,
    NothingFound,
    NotSupported,
    OutOfCredits,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    UnexpectedAnswer,
    VideoDBError,
)
from tests.client.conftest import KEY, Sender
from tests.support.recording_server import CUT, RecordingServer, Reply, Request, envelope, zipped

QUICK = Polling(timeout_s=120, interval_s=0.001)
EXPORT = {"video_id": "m-z-1", "name": "Board meeting"}
MEGABYTE = 1024 * 1024

Connect = Callable[..., Sender]


def _export() -> Call[Export]:
    return streams.export("rts-1")


def _creating() -> Call[Any]:
    return streams.connect("rtsp://127.0.0.1/live", "Board meeting")


def _under_way(output_url: str, **more: Any) -> Reply:
    return envelope({"output_url": output_url}, status="processing", **more)


def _done(data: Any = None) -> Reply:
    return envelope(status="done", response={"success": True, "data": data or EXPORT})


# --- the envelope ---------------------------------------------------------------------------------------------------


def test_data_is_read_and_kept_raw(client: Sender, server: RecordingServer) -> None:
    server.tell(envelope(EXPORT | {"duration": "12.500s", "new": {"key": 1}}))

    export = client.send(_export())

    assert (export.video_id, export.duration) == ("m-z-1", 12.5)
    assert export.raw == EXPORT | {"duration": "12.500s", "new": {"key": 1}}


def test_an_envelope_with_every_known_key_and_unknown_ones_is_read(client: Sender, server: RecordingServer) -> None:
    server.tell(
        envelope(EXPORT, http_status=201, message="made", request_type="sync", error_code=None, trace=["x"], version=3)
    )

    assert client.send(_export()).video_id == "m-z-1"


def test_a_call_answered_by_callback_has_no_result_to_wait_for(client: Sender, server: RecordingServer) -> None:
    server.tell(_under_way(f"{server.url}/async-response/1", request_type="async"))

    assert client.send(videos.index_spoken_words("m-z-1", callback_url="http://127.0.0.1/hook")) is None
    assert len(server.requests) == 1


def test_the_state_of_an_index_is_the_answer_itself_though_it_says_processing(
    client: Sender, server: RecordingServer
) -> None:
    server.tell(Reply(b'{"success": true, "status": "processing", "message": "Index is being made"}'))

    assert client.send(videos.spoken_word_index("m-z-1")).status == "processing"


def test_under_way_without_a_place_to_ask_is_not_taken_for_done(client: Sender, server: RecordingServer) -> None:
    server.tell(Reply(b'{"success": true, "status": "processing", "data": {}}'))

    with pytest.raises(UnexpectedAnswer, match="not where to ask"):
        client.send(videos.index_spoken_words("m-z-1"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"42",
        b"<html><body>Bad gateway</body></html>",
        b'{"success": true, "data": ',
        b'{"success": true, "data": "\xff\xfe"}',
        b"\xff\xfe\x00",
        b'{"success": true, "data": {"video_id": "\\ud800"}}',
        b'{"success": true}',
        b'{"success": true, "data": null}',
        b'{"success": true, "data": []}',
        b'{"success": true, "data": {"video_id": null}}',
        b'{"success": true, "data": {"video_id": ["m-z-1"]}}',
        b'{"success": true, "data": {"video_id": ' + b"1" * 10_000 + b"}}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_cannot_be_read_is_said_so_and_kept(client: Sender, server: RecordingServer, body: bytes) -> None:
    server.tell(Reply(body))

    with pytest.raises(UnexpectedAnswer) as caught:
        client.send(_export())

    assert caught.value.status == 200
    assert caught.value.raw == body.decode("utf-8", "replace")
    assert "POST /rtstream/rts-1/export" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert not caught.value.retry_is_safe


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_thirty_megabytes_of_nesting_are_refused_without_a_crash(
    client: Sender, server: RecordingServer, opening: bytes
) -> None:
    server.tell(Reply(b'{"success": true, "data": ' + opening * (30 * MEGABYTE // len(opening))))

    with pytest.raises(UnexpectedAnswer) as caught:
        client.send(_export())

    assert len(str(caught.value)) < 1000


def test_an_answer_of_thirty_megabytes_is_read(client: Sender, server: RecordingServer) -> None:
    server.tell(envelope(EXPORT | {"text": "x" * (30 * MEGABYTE)}))

    assert client.send(_export()).video_id == "m-z-1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_does_not_travel(
    client: Sender, server: RecordingServer, other_server: RecordingServer, status: int
) -> None:
    server.tell(Reply(status=status, headers={"Location": f"{other_server.url}/rtstream?key={KEY}"}))

    with pytest.raises(UnexpectedAnswer, match=f"redirect to {other_server.url}/") as caught:
        client.send(_export())

    assert other_server.requests == []
    assert len(server.requests) == 1
    assert KEY not in str(caught.value)


# --- refusals -------------------------------------------------------------------------------------------------------

REFUSALS: list[tuple[int, type[ServiceError], bool, bool]] = [
    # status, error, safe to repeat a call that creates, safe to repeat one that is repeatable
    (200, InvalidRequest, False, False),
    (400, InvalidRequest, False, False),
    (401, AuthenticationError, False, False),
    (402, OutOfCredits, False, False),
    (403, InvalidRequest, False, False),
    (404, NotFound, False, False),
    (409, InvalidRequest, False, False),
    (422, InvalidRequest, False, False),
    (429, RateLimited, True, True),
    (500, ServiceUnavailable, False, True),
    (501, NotSupported, False, False),
    (502, ServiceUnavailable, False, True),
    (503, ServiceUnavailable, False, True),
    (504, ServiceUnavailable, False, True),
]


@pytest.mark.parametrize(("status", "kind", "creating_is_safe", "repeatable_is_safe"), REFUSALS)
def test_each_status_is_the_error_that_says_what_to_do(
    client: Sender,
    server: RecordingServer,
    status: int,
    kind: type[ServiceError],
    *,
    creating_is_safe: bool,
    repeatable_is_safe: bool,
) -> None:
    for body, told in (
        (b'{"success": false, "message": "that will not do"}', "that will not do"),
        (b'{"success": false, "error": "neither will that"}', "neither will that"),
        (b'{"success": false, "message": {"url": ["required"]}}', "required"),
        (b'{"success": false}', '"success": false'),
        (b"{}", "{}"),
    ):
        server.tell(Reply(body, status))
        for call, safe in ((_creating(), creating_is_safe), (_export(), repeatable_is_safe)):
            with pytest.raises(ServiceError) as caught:
                client.send(call)

            assert type(caught.value) is kind
            assert caught.value.status == status
            assert caught.value.raw == body.decode()
            assert told in str(caught.value)
            assert str(call) in str(caught.value)
            assert caught.value.retry_is_safe is safe


@pytest.mark.parametrize("body", [b"", b"<html>down</html>", b"null", b"[1]", b"\xff", b'{"success": true}'])
def test_the_status_counts_whatever_the_body_is(client: Sender, server: RecordingServer, body: bytes) -> None:
    for status, kind in ((401, AuthenticationError), (404, NotFound), (502, ServiceUnavailable)):
        server.tell(Reply(body, status, {"Content-Type": "text/html"}))
        with pytest.raises(ServiceError) as caught:
            client.send(_export())
        assert type(caught.value) is kind


def test_a_message_of_megabytes_does_not_end_up_in_the_logs(client: Sender, server: RecordingServer) -> None:
    server.tell(envelope(None, http_status=400, message="no " * MEGABYTE))

    with pytest.raises(InvalidRequest) as caught:
        client.send(_export())

    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("status", [200, 400, 404, 422, 500])
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("No results found", NothingFound),
        ("search failed: NO RESULTS FOUND.", NothingFound),
        ("no results found for this query", NothingFound),
        ("No spoken data found in the video", NoSpokenWords),
        ("Index failed: no spoken words", NoSpokenWords),
        ("NO SPOKEN DATA FOUND", NoSpokenWords),
    ],
)
def test_nothing_found_and_silence_are_told_by_the_message_in_any_case(
    client: Sender, server: RecordingServer, status: int, message: str, kind: type[ServiceError]
) -> None:
    server.tell(Reply(json.dumps({"success": False, "message": message}).encode(), status))

    with pytest.raises(kind) as caught:
        client.send(videos.search("m-z-1", "budget"))

    assert type(caught.value) is kind
    assert not caught.value.retry_is_safe


@pytest.mark.parametrize("message", ["No spoken_word index exists for this video", "There is no spoken word index yet"])
def test_an_index_that_is_not_there_yet_is_not_taken_for_silence(
    client: Sender, server: RecordingServer, message: str
) -> None:
    server.tell(Reply(json.dumps({"success": False, "message": message}).encode(), 404))

    with pytest.raises(NotFound):
        client.send(videos.search("m-z-1", "budget"))


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (402, OutOfCredits), (429, RateLimited)])
def test_a_refusal_at_the_door_is_not_taken_for_an_empty_result(
    client: Sender, server: RecordingServer, status: int, kind: type[ServiceError]
) -> None:
    server.tell(Reply(b'{"success": false, "message": "No results found"}', status))

    with pytest.raises(kind):
        client.send(videos.search("m-z-1", "budget"))


def test_a_gateways_page_that_says_no_results_found_is_a_gateways_page(client: Sender, server: RecordingServer) -> None:
    server.tell(Reply(b"<html>502: no results found for the upstream</html>", 502))

    with pytest.raises(ServiceUnavailable):
        client.send(videos.search("m-z-1", "budget"))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1" * 400, None),
        ("", None),
        ("1 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 +99999999", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_in_every_form(
    client: Sender, server: RecordingServer, status: int, header: str | None, expected: float | None
) -> None:
    server.tell(Reply(b"{}", status, {} if header is None else {"Retry-After": header}))

    with pytest.raises(RateLimited if status == 429 else ServiceUnavailable) as caught:
        client.send(_export())

    assert getattr(caught.value, "retry_after_s") == expected  # noqa: B009 - two classes have it, their base has not


def test_retry_after_as_a_date_is_the_time_until_then(client: Sender, server: RecordingServer) -> None:
    then = datetime.now(UTC) + timedelta(hours=5)
    server.tell(Reply(b"{}", 429, {"Retry-After": format_datetime(then, usegmt=True)}))

    with pytest.raises(RateLimited) as caught:
        client.send(_export())

    assert caught.value.retry_after_s is not None
    assert 4 * 3600 < caught.value.retry_after_s <= 5 * 3600


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_job_is_polled_until_it_is_done(client: Sender, server: RecordingServer) -> None:
    seen: list[float | None] = []
    server.tell(
        _under_way(f"{server.url}/async-response/1"),
        envelope({"percentage": 10}, status="processing"),
        envelope({"percentage": "62.5"}, status="in progress"),
        envelope({}, status="pending"),
        envelope({"percentage": 250}, status="processing"),
        _done(),
    )

    export = client.send(_export(), polling=Polling(timeout_s=120, interval_s=0.001, on_progress=seen.append))

    assert export.video_id == "m-z-1"
    assert seen == [None, 10.0, 62.5, None, 100.0]
    assert [request.target for request in server.requests[1:]] == ["/async-response/1"] * 5
    assert {request.method for request in server.requests[1:]} == {"GET"}
    assert {request.headers.get("x-access-token") for request in server.requests} == {KEY}


@pytest.mark.parametrize("percentage", [None, "many", [], {}, True, "nan", "inf", 10**400, -5, 1e300])
def test_no_progress_that_the_service_can_think_of_stops_the_polling(
    client: Sender, server: RecordingServer, percentage: Any
) -> None:
    seen: list[float | None] = []
    server.tell(
        _under_way(f"{server.url}/async-response/1"),
        envelope({"percentage": percentage}, status="processing"),
        _done(),
    )

    client.send(_export(), polling=Polling(timeout_s=120, interval_s=0.001, on_progress=seen.append))

    assert len(seen) == 2
    assert seen[1] is None or 0 <= seen[1] <= 100


def test_a_result_beside_the_envelope_is_read_as_well(client: Sender, server: RecordingServer) -> None:
    server.tell(_under_way(f"{server.url}/async-response/1"), envelope(EXPORT))

    assert client.send(_export(), polling=QUICK).video_id == "m-z-1"


@pytest.mark.parametrize("output_url", ["/async-response/1", "async-response/1"])
def test_a_relative_output_url_is_one_of_the_service(client: Sender, server: RecordingServer, output_url: str) -> None:
    server.tell(_under_way(output_url), _done())

    assert client.send(_export(), polling=QUICK).video_id == "m-z-1"
    assert server.requests[1].target == "/async-response/1"
    assert server.requests[1].headers["x-access-token"] == KEY


def test_the_key_is_not_sent_to_another_host_that_output_url_names(
    client: Sender, server: RecordingServer, other_server: RecordingServer
) -> None:
    server.tell(_under_way(f"{other_server.url}/async-response/1?sig=abc"))
    other_server.tell(envelope({"percentage": 50}, status="processing"), _done())

    assert client.send(_export(), polling=QUICK).video_id == "m-z-1"

    assert [request.target for request in other_server.requests] == ["/async-response/1?sig=abc"] * 2
    for request in other_server.requests:
        assert KEY not in str(request)
        assert not {"x-access-token", "x-videodb-client", "authorization", "cookie"} & request.headers.keys()


def test_a_cookie_of_the_service_is_not_sent_to_another_host(
    client: Sender, server: RecordingServer, other_server: RecordingServer
) -> None:
    started = _under_way(other_server.url.replace("127.0.0.1", "localhost") + "/async-response/1")
    server.tell(Reply(started.body, 200, {"Set-Cookie": f"session={KEY}; Path=/"}))
    other_server.tell(_done())

    client.send(_export(), polling=QUICK)

    assert KEY not in str(other_server.requests)


@pytest.mark.parametrize(
    "disguise",
    [
        "http://{host}@127.0.0.1:{other}/r",
        "http://{host}%40127.0.0.1:{other}/r",
        "http://{host}#@127.0.0.1:{other}/r",
        "http://127.0.0.1:{other}\\@{host}/r",
        "http://127.0.0.1:{other}/@{host}/r",
        "http://127.0.0.1:{other}?@{host}/r",
        "http://localhost:{other}/r",
        "HTTP://127.0.0.1:{other}/r",
        "//127.0.0.1:{other}/r",
        "http:\t//127.0.0.1:{other}/r",
        "http:127.0.0.1:{other}/r",
        "https://{host}/r",
        "ftp://{host}/r",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://{host}:99999999/r",
    ],
)
def test_no_disguise_of_output_url_carries_the_key_elsewhere(
    client: Sender, server: RecordingServer, other_server: RecordingServer, disguise: str
) -> None:
    output_url = disguise.format(host=f"127.0.0.1:{server.port}", other=other_server.port)
    server.tell(_under_way(output_url), envelope(None, http_status=400), envelope(None, http_status=400))
    other_server.tell(envelope(None, http_status=400))

    with pytest.raises(VideoDBError) as caught:
        client.send(_export(), polling=Polling(timeout_s=0.05, interval_s=0.001))

    assert KEY not in str(other_server.requests)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("output_url", ["ftp://127.0.0.1/r", "file:///etc/passwd", "http://", "http://[::1/r"])
def test_an_output_url_that_is_none_is_not_polled_for_ever(
    client: Sender, server: RecordingServer, output_url: str
) -> None:
    server.tell(_under_way(output_url))

    with pytest.raises(UnexpectedAnswer, match="no http URL"):
        client.send(_export(), polling=QUICK)


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(b"{}", 500),
        Reply(b"<html>bad gateway</html>", 502),
        Reply(b"{}", 503, {"Retry-After": "0.001"}),
        Reply(b"{}", 429),
        CUT,
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
        Reply(raw=b"garbage\r\n\r\n"),
    ],
    ids=["500", "502", "503", "429", "cut", "half", "garbage"],
)
def test_a_look_that_fails_in_passing_does_not_end_the_wait(
    client: Sender, server: RecordingServer, trouble: Reply
) -> None:
    server.tell(
        _under_way(f"{server.url}/async-response/1"),
        trouble,
        envelope({"percentage": 50}, status="processing"),
        trouble,
        trouble,
        _done(),
    )

    assert client.send(_export(), polling=QUICK).video_id == "m-z-1"
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(b"{}", 401), AuthenticationError),
        (Reply(b"{}", 404), NotFound),
        (Reply(b"{}", 400), InvalidRequest),
        (Reply(b"<html>", 200), UnexpectedAnswer),
        (envelope(None, success=False, status_text="x", message="the disk is full"), JobFailed),
        (envelope(None, response={"success": False, "message": "the disk is full"}), JobFailed),
        (envelope(None, response={"success": False, "message": "No spoken data found"}), NoSpokenWords),
        (envelope(None, response={"success": False, "message": "no results found"}), NothingFound),
        (envelope(None, response="done"), UnexpectedAnswer),
        (envelope(None, response={"success": True, "data": {}}), UnexpectedAnswer),
        (Reply(b'{"success": false, "status": "failed"}'), JobFailed),
        (Reply(b'{"success": false, "status": []}'), JobFailed),
        (Reply(b'{"success": false, "status": {"processing": 1}}'), JobFailed),
    ],
)
def test_a_job_that_fails_says_how(
    client: Sender, server: RecordingServer, reply: Reply, kind: type[VideoDBError]
) -> None:
    server.tell(_under_way(f"{server.url}/async-response/1"), reply)

    with pytest.raises(VideoDBError) as caught:
        client.send(_export(), polling=QUICK)

    assert type(caught.value) is kind
    assert not caught.value.retry_is_safe
    assert len(server.requests) == 2


def test_a_job_that_outlives_the_wait_can_be_waited_for_again(client: Sender, server: RecordingServer) -> None:
    server.answer = lambda request: (
        _under_way(f"{server.url}/async-response/1")
        if request.method == "POST"
        else envelope({"percentage": 40}, status="processing")
    )

    with pytest.raises(JobUnfinished) as caught:
        client.send(_export(), polling=Polling(timeout_s=0.2, interval_s=0.001))

    error = caught.value
    assert isinstance(error.job, Job)
    assert error.job.call.path == "/rtstream/rts-1/export"
    assert error.retry_is_safe  # exporting is repeatable

    server.tell(_done())
    seen: list[float | None] = []
    again = client.wait(error.job, Polling(timeout_s=120, interval_s=0.001, on_progress=seen.append))
    assert again.video_id == "m-z-1"
    assert seen == [error.percentage]
    assert [request.method for request in server.requests].count("POST") == 1


def test_a_job_unfinished_says_what_the_last_look_met(client: Sender, server: RecordingServer) -> None:
    server.answer = lambda request: (
        _under_way(f"{server.url}/async-response/1") if request.method == "POST" else Reply(b"{}", 503)
    )

    with pytest.raises(JobUnfinished, match=r"the last look failed: .*HTTP 503"):
        client.send(_export(), polling=Polling(timeout_s=0.2, interval_s=0.001))


def test_a_wait_asked_for_by_retry_after_does_not_outlast_the_deadline(client: Sender, server: RecordingServer) -> None:
    server.tell(_under_way(f"{server.url}/async-response/1"), Reply(b"{}", 429, {"Retry-After": "86400"}))

    with pytest.raises(JobUnfinished):
        client.send(_export(), polling=Polling(timeout_s=0.2, interval_s=0.001))

    # One at once, and a last one at the deadline: a day was asked for, and nobody hammers in between.
    assert len(server.requests) == 3


def test_retry_after_makes_the_next_look_later(client: Sender, server: RecordingServer) -> None:
    arrivals: list[float] = []

    def answer(request: Request) -> Reply:
        arrivals.append(time.monotonic())
        if request.method == "POST":
            return _under_way(f"{server.url}/async-response/1")
        return Reply(b"{}", 429, {"Retry-After": "0.4"}) if len(arrivals) == 2 else _done()

    server.answer = answer

    client.send(_export(), polling=QUICK)

    assert arrivals[2] - arrivals[1] >= 0.4  # a lower bound: no machine is too slow for it


def test_retry_after_and_trouble_are_forgotten_after_a_look_that_went_well(
    client: Sender, server: RecordingServer
) -> None:
    looks = 0

    def answer(request: Request) -> Reply:
        nonlocal looks
        if request.method == "POST":
            return _under_way(f"{server.url}/async-response/1")
        looks += 1
        if looks == 1:
            return Reply(b"{}", 429, {"Retry-After": "0.6"})
        return _done() if looks == 300 else envelope({}, status="processing")

    server.answer = answer

    # With the pause that was asked for once in each of 300 looks, it would not be done in the time.
    assert client.send(_export(), polling=Polling(timeout_s=120, interval_s=0.001)).video_id == "m-z-1"

    server.tell(_under_way(f"{server.url}/async-response/1"), Reply(b"{}", 503), envelope({}, status="processing"))
    with pytest.raises(JobUnfinished) as caught:
        client.send(_export(), polling=Polling(timeout_s=0.3, interval_s=0.001))
    assert "the last look failed" not in str(caught.value)


def test_begin_gives_the_job_and_does_not_wait(client: Sender, server: RecordingServer) -> None:
    server.tell(_under_way(f"{server.url}/async-response/1", percentage=1))

    job = client.begin(_export())

    assert isinstance(job, Job)
    assert len(server.requests) == 1
    assert repr(job) == "Job(POST /rtstream/rts-1/export, percentage=None)"


# --- encodings of the body ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [0, 1, 7, 1000])
@pytest.mark.parametrize("packed", [False, True])
def test_chunked_and_gzipped_answers_are_read(
    client: Sender,
    server: RecordingServer,
    chunks: int,
    *,
    packed: bool,
) -> None:
    plain = envelope({"id": "m-z-1", "name": "Übung 会議", "text": "x" * 5000})
    reply = Reply(plain.body, chunks=chunks)
    server.tell(zipped(reply) if packed else reply)

    video: Video = client.send(videos.get("m-z-1"))

    assert video.name == "Übung 会議"
    assert "gzip" in server.requests[0].headers["accept-encoding"]


def test_a_gzip_that_is_none_is_an_answer_that_was_lost(client: Sender, server: RecordingServer) -> None:
    server.tell(Reply(b"not gzip at all", headers={"Content-Encoding": "gzip"}), envelope({"id": "m-z-1"}))

    with pytest.raises(AnswerLost):
        client.send(videos.get("m-z-1"))

    assert client.send(videos.get("m-z-1")).id == "m-z-1"


def test_an_answer_that_waits_is_waited_for(client: Sender, server: RecordingServer) -> None:
    gate = threading.Event()
    server.answer = lambda _request: Reply(envelope(EXPORT).body, until=gate)
    opener = threading.Timer(0.2, gate.set)
    opener.start()
    try:
        assert client.send(_export()).video_id == "m-z-1"
    finally:
        gate.set()
        opener.join()
