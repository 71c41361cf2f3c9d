"""One deadline and one limit for every exchange with the service, whatever it does. Real sockets, loopback only."""

import gzip
import itertools
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import pytest

from prefect_videodb.client import Polling, streams, videos
from prefect_videodb.client.body import MAX_BODY_BYTES
from prefect_videodb.errors import AnswerLost, JobUnfinished, UnexpectedAnswer, VideoDBError
from tests.client.conftest import Sender
from tests.support.recording_server import RecordingServer, Reply, envelope

Connect = Callable[..., Sender]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
# Long enough for a machine under load, short beside the minutes that an answer without a deadline takes.
GIVEN_UP_S = 30.0


@contextmanager
def _sending(pieces: Callable[[], Iterator[bytes]], pause_s: float = 0.0) -> Iterator[str]:
    """Serve every request with these bytes, one piece after the other, for as long as the client reads."""
    stopped = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            for piece in pieces():
                if stopped.wait(pause_s) if pause_s else stopped.is_set():
                    return
                connection.sendall(piece)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()


def _each(*parts: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain(*([bytes([byte]) for byte in part] for part in parts))


def _repeating(head: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([head], itertools.repeat(piece))


BODY = json.dumps({"success": True, "data": {"id": "rts-1", "name": "x" * 500}}).encode()


@pytest.mark.parametrize(
    "pieces",
    [
        _each(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY),
        _repeating(HEAD, b"X-More: 1\r\n"),
        _repeating(HEAD + b"X-More: ", b"a"),
        _repeating(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        _repeating(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: 1\r\n"),
        _repeating(HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
        _repeating(HEAD + b"\r\n", b" "),
        _repeating(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        _repeating(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10], b"\x00\x00\x00\xff\xff"),
    ],
    ids=["drip", "headers", "header", "chunks", "trailers", "length", "until close", "100", "gzip"],
)
def test_deadline_of_an_exchange(connect: Connect, pieces: Callable[[], Iterator[bytes]]) -> None:
    with _sending(pieces, pause_s=0.05) as url:
        client = connect(url, timeout_s=0.4)
        for call, safe in ((streams.get("rts-1"), True), (streams.connect("rtsp://127.0.0.1/live", "x"), False)):
            began = time.monotonic()
            with pytest.raises(AnswerLost, match=r"no whole answer within 0\.4 s") as caught:
                client.send(call)
            assert time.monotonic() - began < GIVEN_UP_S
            assert caught.value.retry_is_safe is safe


def test_deadline_of_a_look_at_a_job(connect: Connect, server: RecordingServer) -> None:
    with _sending(_repeating(HEAD + b"\r\n", b" "), pause_s=0.05) as elsewhere:
        server.tell(envelope({"output_url": f"{elsewhere}/r"}, status="processing"))
        with pytest.raises(JobUnfinished, match="no whole answer"):
            connect(server.url, timeout_s=0.4).send(
                streams.export("rts-1"), polling=Polling(timeout_s=0.9, interval_s=0.01)
            )


def test_deadline_of_tls_handshake(connect: Connect) -> None:
    with _sending(_repeating(b"\x16\x03\x03\x3f\xff", b"\x00"), pause_s=0.05) as url:
        began = time.monotonic()
        with pytest.raises(VideoDBError):
            connect(url.replace("http:", "https:"), timeout_s=0.4).send(streams.get("rts-1"))
        assert time.monotonic() - began < GIVEN_UP_S


# --- size -----------------------------------------------------------------------------------------------------------


@cache
def _packed(encoding: str) -> bytes:
    """Return half a gigabyte of blanks, packed: half a megabyte."""
    window = {"gzip": 31, "deflate": 15, "raw": -15}[encoding]
    packer = zlib.compressobj(wbits=window)
    blanks = b" " * 2**20
    return b"".join([*(packer.compress(blanks) for _ in range(512)), packer.flush()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw"])
def test_decompression_bomb(client: Sender, server: RecordingServer, encoding: str) -> None:
    server.tell(Reply(_packed(encoding), headers={"Content-Encoding": encoding.replace("raw", "deflate")}))
    tracemalloc.start()
    try:
        with pytest.raises(UnexpectedAnswer, match="larger than 32 MiB"):
            client.send(videos.get("m-z-1"))
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd", "compress", "gzip, deflate, gzip", "x" * 5000])
def test_content_encoding_that_was_not_asked_for(client: Sender, server: RecordingServer, encoding: str) -> None:
    server.tell(Reply(gzip.compress(gzip.compress(BODY)), headers={"Content-Encoding": encoding}))
    with pytest.raises(UnexpectedAnswer, match="encoding is") as caught:
        client.send(videos.get("m-z-1"))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw", "identity", "GZIP", " gzip ", ""])
def test_content_encodings_are_read(client: Sender, server: RecordingServer, encoding: str) -> None:
    name = encoding.strip().lower()
    packed = {"deflate": zlib.compress(BODY), "raw": zlib.compress(BODY, wbits=-15), "identity": BODY, "": BODY}
    headers = {"Content-Encoding": encoding.replace("raw", "deflate")}
    server.tell(Reply(packed.get(name, gzip.compress(BODY)), headers=headers))
    assert client.send(videos.get("m-z-1")).id == "rts-1"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_content_encoding_cut_off(client: Sender, server: RecordingServer, encoding: str) -> None:
    packed = gzip.compress(BODY) if encoding == "gzip" else zlib.compress(BODY)
    server.tell(Reply(packed[:-5], headers={"Content-Encoding": encoding}))
    with pytest.raises(AnswerLost, match=f"{encoding} encoding is cut off"):
        client.send(videos.get("m-z-1"))


@pytest.mark.parametrize(
    "pieces",
    [
        _repeating(HEAD + b"\r\n", b"[" * 2**16),
        _repeating(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 2**16 + b"\r\n"),
        _repeating(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10], b"\x00\x00\x00\xff\xff" * 2**13),
        _repeating(HEAD + b"Content-Length: 1000000000000000\r\n\r\n", b" "),
        _repeating(HEAD + b"Content-Length: 33554433\r\n\r\n", b" " * 2**16),
    ],
    ids=["until close", "chunks", "empty blocks", "length", "one too many"],
)
def test_answer_without_end(connect: Connect, pieces: Callable[[], Iterator[bytes]]) -> None:
    with _sending(pieces) as url, pytest.raises(UnexpectedAnswer, match="larger than 32 MiB"):
        connect(url).send(streams.get("rts-1"))


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"9" * 5000, b"0x10", b"7, 9", b""])
def test_content_length_lies(connect: Connect, length: bytes) -> None:
    answer = HEAD + b"Content-Length: " + length + b"\r\n\r\n" + BODY
    # Read to its end, or refused: it is not defined which.
    with _sending(lambda: iter([answer])) as url, suppress(VideoDBError):
        assert connect(url).send(streams.get("rts-1")).id == "rts-1"


@pytest.mark.parametrize(
    "data",
    [b"[" + b"0," * 3_000_000 + b"0]", b'{"results": [' + b'{"id":1},' * 300_000 + b'{"id":1}]}'],
    ids=["values", "entries"],
)
def test_more_values_than_an_answer_has(client: Sender, server: RecordingServer, data: bytes) -> None:
    server.tell(Reply(b'{"success": true, "data": ' + data + b"}"))
    with pytest.raises(UnexpectedAnswer):
        client.send(streams.list_page())


def test_error_keeps_the_beginning_of_the_body(client: Sender, server: RecordingServer) -> None:
    server.tell(Reply(b"<html>" + b"x" * 2**20))
    with pytest.raises(UnexpectedAnswer) as caught:
        client.send(streams.get("rts-1"))
    assert caught.value.raw.startswith("<html>x")
    assert len(caught.value.raw) <= 2**16


@pytest.mark.parametrize("before", range(2**16 - 40, 2**16 + 40, 5))
def test_error_shows_no_secret_at_its_end(client: Sender, server: RecordingServer, before: int) -> None:
    secret = "rtsp://camera:hunter22hunter22@127.0.0.1/live"
    server.tell(Reply(b"x" * before + secret.encode() + b"y" * 10_000))
    with pytest.raises(UnexpectedAnswer) as caught:
        client.send(streams.connect(secret, "x"))
    assert "hunter" not in caught.value.raw


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_retry_after_of_years_does_not_end_the_looking(
    client: Sender, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_videodb.client.http._MAX_RETRY_AFTER_S", 0.01)
    server.tell(
        envelope({"output_url": "/r"}, status="processing"),
        Reply(b"{}", 503, {"Retry-After": "1000000000"}),
        Reply(b"{}", 503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}),
        envelope({"video_id": "m-1"}),
    )
    found: Any = client.send(streams.export("rts-1"), polling=Polling(timeout_s=60, interval_s=0.01))
    assert found.video_id == "m-1"


@pytest.mark.parametrize(
    "link",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/r",
        "http://[::ffff:169.254.169.254]/r",
        "http://[64:ff9b::a9fe:a9fe]/r",
        "http://2852039166/r",
        "http://0xa9.0xfe.0xa9.0xfe/r",
        "http://0251.0376.0251.0376/r",
        "http://168.63.129.16/r",
        "http://0.0.0.0/r",
        "http://user:hunter22@127.0.0.1/r",
    ],
)
def test_job_at_a_metadata_service_is_not_asked(client: Sender, server: RecordingServer, link: str) -> None:
    server.tell(envelope({"output_url": link}, status="processing"))
    with pytest.raises(UnexpectedAnswer, match=r"is not asked|is no http URL") as caught:
        client.send(streams.export("rts-1"), polling=Polling(timeout_s=60, interval_s=0.01))
    assert "hunter" not in str(caught.value)


def test_not_found_that_is_not_of_the_service(client: Sender, server: RecordingServer) -> None:
    server.tell(Reply(b'{"detail":"Not Found"}', 404))
    with pytest.raises(VideoDBError) as caught:
        client.send(streams.list_page())
    assert str(caught.value) == (
        f"GET /rtstream at http://127.0.0.1:{server.port}: Not Found (HTTP 404); what answers there may not be "
        "VideoDB: check the base URL of the VideoDBCredentials block"
    )


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "check the API key"), (402, "top up"), (404, "check the id"), (429, "try later"), (502, "try later")],
)
def test_error_names_host_and_what_to_do(client: Sender, server: RecordingServer, status: int, advice: str) -> None:
    server.tell(envelope(http_status=status, message="no"))
    with pytest.raises(VideoDBError, match=advice) as caught:
        client.send(streams.get("rts-1"))
    assert str(caught.value).startswith(f"GET /rtstream/rts-1 at http://127.0.0.1:{server.port}: no (HTTP {status}); ")
