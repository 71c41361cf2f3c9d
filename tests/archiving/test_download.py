"""The download: read to its end over broken connections, and never told in full."""

import logging
import re
import socketserver
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from prefect_videodb.archiving.download import Download
from prefect_videodb.blocks import RecordingArchive, VideoDBCredentials
from prefect_videodb.client.hosts import LinkRule
from prefect_videodb.errors import (
    AnswerLost,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
    StorageError,
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


def opened(url: str, *, base_url: str = "", allow_private: bool = True, timeout_s: float = 20.0) -> Download:
    rule = LinkRule(base_url or url.strip(), allow_private=allow_private)
    return Download(url, timeout_s=timeout_s, where="video m-1", rule=rule)


def read(server: RecordingServer) -> bytes:
    with opened(server.url + PATH) as download:
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
    with pytest.raises(UnexpectedAnswer, match=r"no http URL|user name"):
        opened(link, base_url="http://127.0.0.1")


def test_a_link_that_leads_to_another_host_is_followed_and_one_to_a_file_is_not(server: RecordingServer) -> None:
    with RecordingServer() as elsewhere:
        elsewhere.tell(Reply(CONTENT, 200, VIDEO))
        server.tell(Reply(status=302, headers={"Location": f"{elsewhere.url}/{TOKEN}"}))
        assert read(server) == CONTENT
    server.tell(Reply(status=302, headers={"Location": f"file:///etc/{TOKEN}"}))
    with fails(UnexpectedAnswer, "no http URL"):
        read(server)


def test_a_link_with_what_no_request_can_hold_is_quoted(server: RecordingServer) -> None:
    server.tell(Reply(CONTENT, 200, VIDEO))
    with opened(f"{server.url}/Größe 1/video.mp4?a=%20b", base_url=server.url) as download:
        assert b"".join(download.chunks()) == CONTENT
    assert server.requests[0].target == "/Gr%C3%B6%C3%9Fe%201/video.mp4?a=%20b"


def test_one_that_cannot_be_reached_is_named_by_where_it_is() -> None:
    port = free_port()
    with fails(AnswerLost, f"http://127.0.0.1:{port}/…"):
        opened(f"http://127.0.0.1:{port}{PATH}")


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
        with opened(elsewhere.url + PATH) as download:
            assert b"".join(download.chunks()) == CONTENT
        [request] = elsewhere.requests
    assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}
    assert archive_video.fn(account, video.id, archive).sha256 == video.sha256


# --- where a link may lead, and what a store takes ------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:{other}/x",
        "http://127.1:{other}/x",
        "http://0:{other}/x",
        "http://localhost:{other}/x",
        "http://LOCALHOST:{other}/x",
        "http://2130706433:{other}/x",
        "http://0x7f000001:{other}/x",
        "http://[::1]:{other}/x",
        "http://[::ffff:127.0.0.1]:{other}/x",
        "http://[::127.0.0.1]:{other}/x",
        "http://[64:ff9b::7f00:1]:{other}/x",
        "http://[2002:7f00:1::]:{other}/x",
        "http://[fd00:ec2::254]/x",
        "http://[fe80::1]/x",
        "http://[fec0::1]/x",
        "http://10.0.0.1/x",
        "http://172.16.0.1/x",
        "http://192.168.0.1/x",
        "http://100.100.100.200/x",
        "http://168.63.129.16/x",
        "http://224.0.0.1/x",
        "http://255.255.255.255/x",
        "http://user@127.0.0.1:{other}/x",
    ],
)
@pytest.mark.parametrize("way", ["link", "redirect", "link through a proxy"])
def test_server_side_request_forgery(
    server: RecordingServer, monkeypatch: pytest.MonkeyPatch, link: str, way: str
) -> None:
    with RecordingServer() as internal:
        internal.tell(Reply(CONTENT, 200, VIDEO))
        link = link.replace("{other}", str(internal.port))
        server.tell(Reply(status=302, headers={"Location": link}))
        if way == "link through a proxy":
            monkeypatch.setenv("http_proxy", internal.url)
        with pytest.raises(UnexpectedAnswer, match=r"is not followed|is no http URL") as caught:
            opened(server.url + PATH if way == "redirect" else link, base_url=server.url, allow_private=False)
        assert internal.requests == []
    assert "has a user" in str(caught.value) or "'Allow private hosts' in the RecordingArchive" in str(caught.value)


def test_private_host_that_is_allowed(server: RecordingServer) -> None:
    with RecordingServer() as internal:
        internal.tell(Reply(CONTENT, 200, VIDEO))
        server.tell(Reply(status=302, headers={"Location": internal.url}))
        with opened(server.url + PATH, base_url="http://videodb.invalid", allow_private=True) as download:
            assert b"".join(download.chunks()) == CONTENT


def test_metadata_service_is_never_allowed() -> None:
    for host in ("169.254.169.254", "[fe80::1]", "168.63.129.16", "[::]"):
        with pytest.raises(UnexpectedAnswer, match="no public address"):
            opened(f"http://{host}/x", base_url="http://127.0.0.1", allow_private=True)


def test_redirect_from_https_to_http(server: RecordingServer) -> None:
    with pytest.raises(UnexpectedAnswer, match="not encrypted"):
        opened(server.url + PATH, base_url="https://videodb.invalid")
    assert server.requests == []


def test_redirect_loop(server: RecordingServer) -> None:
    server.tell(Reply(status=302, headers={"Location": PATH}))
    with pytest.raises(UnexpectedAnswer, match="redirected more than 5 times"):
        opened(server.url + PATH)
    assert len(server.requests) == 6


@pytest.mark.parametrize("length", [10**15, 5 * 2**40 + 1, 10**30])
def test_larger_than_an_object_may_be(server: RecordingServer, length: int) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {length}\r\n\r\n"
    server.tell(Reply(raw=head.encode() + b"x" * 1000))
    with fails(StorageError, "5 TiB"):
        read(server)
    assert len(server.requests) == 1


def test_download_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each 256 KiB have a deadline, and after some tries that bring nothing it is given up."""
    monkeypatch.setattr("prefect_videodb.archiving.download._PAUSE_S", 0.001)
    gone = threading.Event()

    class Dripping(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 1000000\r\n\r\n")
            with suppress(OSError):
                while not gone.wait(0.05):
                    self.request.sendall(b"x")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as dripping:
        serving = threading.Thread(target=dripping.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            url = f"http://127.0.0.1:{dripping.server_address[1]}/x"
            with opened(url, timeout_s=0.3) as download, pytest.raises(AnswerLost, match="given up after 6 tries"):
                list(download.chunks())
        finally:
            gone.set()
            dripping.shutdown()
            serving.join()
