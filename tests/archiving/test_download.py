"""The download: read to its end over broken connections, and never told in full."""

import logging
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from prefect_videodb.archiving.download import Download
from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.errors import (
    AnswerLost,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
    UnexpectedAnswer,
    VideoDBError,
)
from prefect_videodb.tasks import archive_video
from tests.archiving.conftest import Finished
from tests.support.faulty_proxy import FaultyProxy, Rule
from tests.support.processes import free_port
from tests.support.recording_server import CUT, RecordingServer, Reply, Request

CONTENT = bytes(range(256)) * 4096  # a mebibyte
OTHER = CONTENT[::-1]
TOKEN = "token-0123456789"
PATH = f"/files/{TOKEN}/video.mp4?signature={TOKEN}"
VIDEO = {"Content-Type": "video/mp4", "ETag": '"one"'}


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer() as running:
        yield running


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Hold every line, at every level, to the rule that the link is never shown."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="prefect_videodb")
    yield caplog
    assert TOKEN not in caplog.text


@contextmanager
def fails(kind: type[VideoDBError], told: str) -> Iterator[None]:
    with pytest.raises(VideoDBError, match=told) as caught:
        yield
    assert type(caught.value) is kind
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def read(server: RecordingServer) -> bytes:
    with Download(server.url + PATH, timeout_s=20.0, where="video m-1") as download:
        return b"".join(download.chunks())


def half(content: bytes, headers: dict[str, str]) -> Reply:
    """Make an answer that breaks off in the middle."""
    head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": str(len(content))}.items())
    status = "206 Partial Content" if "Content-Range" in headers else "200 OK"
    return Reply(raw=f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + content[: len(content) // 2])


def ranging(breaks: int) -> Callable[[Request], Reply]:
    """Give what answers ranges, and breaks off so often."""
    left = [breaks]

    def answer(request: Request) -> Reply:
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        at = int(found[1]) if found else 0
        ranged = {"Content-Range": f"bytes {at}-{len(CONTENT) - 1}/{len(CONTENT)}"} if found else {}
        if left[0] > 0:
            left[0] -= 1
            return half(CONTENT[at:], VIDEO | ranged)
        return Reply(CONTENT[at:], 206 if found else 200, VIDEO | ranged)

    return answer


def test_where_it_breaks_off_it_goes_on(server: RecordingServer) -> None:
    server.answer = ranging(breaks=3)
    assert read(server) == CONTENT
    asked = [(request.headers.get("range"), request.headers.get("if-range")) for request in server.requests]
    assert asked[0] == (None, None)
    assert asked[1:] == [(f"bytes={len(CONTENT) - (len(CONTENT) >> n)}-", '"one"') for n in (1, 2, 3)]


def test_without_ranges_it_is_begun_anew_and_nothing_comes_twice(server: RecordingServer) -> None:
    server.tell(half(CONTENT, VIDEO), half(CONTENT, VIDEO), Reply(CONTENT, 200, VIDEO))
    assert read(server) == CONTENT


def test_a_file_that_became_another_one_is_not_mixed_with_the_first(server: RecordingServer) -> None:
    server.tell(half(CONTENT, VIDEO), Reply(OTHER, 200, VIDEO))
    with fails(UnexpectedAnswer, "became another one"):
        read(server)
    server.tell(half(CONTENT, VIDEO), Reply(CONTENT + b"more", 200, VIDEO))
    with fails(UnexpectedAnswer, "became another one"):
        read(server)
    wrong = {"Content-Range": f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}"}
    server.tell(half(CONTENT, VIDEO), Reply(CONTENT[7:], 206, VIDEO | wrong))
    with fails(UnexpectedAnswer, "became another one"):
        read(server)
    server.tell(half(CONTENT, VIDEO), Reply(status=416))
    with fails(UnexpectedAnswer, "became another one"):
        read(server)


def test_one_that_always_breaks_off_is_given_up(server: RecordingServer) -> None:
    server.tell(half(CONTENT, VIDEO), CUT)
    with fails(AnswerLost, "given up after 6 tries"):
        read(server)


def test_a_server_that_fails_in_passing_is_asked_again(server: RecordingServer) -> None:
    server.tell(Reply(status=503), CUT, Reply(CONTENT, 200, VIDEO))
    assert read(server) == CONTENT


def test_a_server_that_goes_on_failing_may_be_asked_later(server: RecordingServer) -> None:
    server.tell(Reply(status=502))
    with fails(ServiceUnavailable, "HTTP 502"):
        read(server)


@pytest.mark.parametrize(("status", "kind"), [(403, InvalidRequest), (404, NotFound), (410, NotFound)])
def test_a_link_that_is_refused_is_told_and_may_be_asked_for_anew(
    server: RecordingServer, status: int, kind: type[VideoDBError]
) -> None:
    server.tell(Reply(f"<Error>{TOKEN}</Error>".encode(), status))
    with fails(kind, rf"HTTP {status}\): the link may have expired"):
        read(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(b"", 200, VIDEO), "empty"),
        (Reply(CONTENT, 200, VIDEO, chunks=3), "length is not told"),
        (Reply(b"<html>sign in</html>", 200, {"Content-Type": "text/html"}), "no video"),
        (Reply(CONTENT, 200, VIDEO | {"Content-Encoding": "gzip"}), "encoded"),
    ],
)
def test_what_is_no_video_is_not_archived(server: RecordingServer, reply: Reply, told: str) -> None:
    server.tell(reply)
    with fails(UnexpectedAnswer, told):
        read(server)


@pytest.mark.parametrize("link", ["file:///etc/passwd", "ftp://h/x", "http://", "http://u:p@h/x", "http://[x/", "x"])
def test_a_link_that_is_none_is_not_followed(link: str) -> None:
    with pytest.raises(UnexpectedAnswer, match="no http URL"):
        Download(link, timeout_s=1.0, where="video m-1")


def test_a_link_that_leads_to_another_host_is_followed_and_one_to_a_file_is_not(server: RecordingServer) -> None:
    with RecordingServer() as elsewhere:
        elsewhere.tell(Reply(CONTENT, 200, VIDEO))
        server.tell(Reply(status=302, headers={"Location": f"{elsewhere.url}/{TOKEN}"}))
        assert read(server) == CONTENT
    server.tell(Reply(status=302, headers={"Location": f"file:///etc/{TOKEN}"}))
    with fails(InvalidRequest, "refused"):
        read(server)


def test_a_link_with_what_no_request_can_hold_is_quoted(server: RecordingServer) -> None:
    server.tell(Reply(CONTENT, 200, VIDEO))
    with Download(f"{server.url}/Größe 1/video.mp4?a=%20b", timeout_s=20.0, where="video m-1") as download:
        assert b"".join(download.chunks()) == CONTENT
    assert server.requests[0].target == "/Gr%C3%B6%C3%9Fe%201/video.mp4?a=%20b"


def test_one_that_cannot_be_reached_is_named_by_where_it_is() -> None:
    port = free_port()
    with fails(AnswerLost, f"http://127.0.0.1:{port}/…"):
        Download(f"http://127.0.0.1:{port}{PATH}", timeout_s=5.0, where="video m-1")


def test_a_connection_that_is_cut_on_the_way_into_the_store_changes_nothing(
    account: VideoDBCredentials, archive: RecordingArchive, large_video: Finished, videodb_proxy: FaultyProxy
) -> None:
    cut = Rule("GET", "^/downloads/", "cut within", times=3)
    videodb_proxy.rules.append(cut)
    assert archive_video.fn(account, large_video.id, archive).sha256 == large_video.sha256
    assert cut.times == 0


def test_the_key_is_not_sent_with_the_download(
    account: VideoDBCredentials, archive: RecordingArchive, video: Finished
) -> None:
    with RecordingServer() as elsewhere:
        elsewhere.tell(Reply(CONTENT, 200, VIDEO))
        with Download(elsewhere.url + PATH, timeout_s=5.0, where="video m-1") as download:
            assert b"".join(download.chunks()) == CONTENT
        [request] = elsewhere.requests
    assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert archive_video.fn(account, video.id, archive).sha256 == video.sha256
