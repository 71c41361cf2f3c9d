"""A real HTTP server on loopback that keeps what it is asked and answers what it is told, byte for byte if need be."""

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import parse_qsl, urlsplit

# How long a reply that was told to wait does so at most: longer than any test waits, so that a broken test still ends.
_LONGEST_WAIT_S = 120.0


@dataclass(frozen=True)
class Request:
    """One request as it came in.

    Attributes:
        method: HTTP method.
        target: the request target as sent, path and query, still quoted.
        headers: names in lower case.
        body: the raw body.
        connection: number of the connection it came on, counted from 1.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        """The path, still quoted."""
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        """The pairs of the query, sorted: a multiset."""
        return sorted(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body as JSON; None when there is none."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Reply:
    """What to answer.

    Attributes:
        body: the body.
        status: HTTP status.
        headers: beside Content-Length, which is set.
        chunks: send the body in this many chunks, without Content-Length; 0 sends it whole.
        raw: instead of all this, exactly these bytes, and then the connection is cut.
        until: wait for this first.
        then_close: close the connection after the answer without having said so.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: int = 0
    raw: bytes | None = None
    until: threading.Event | None = None
    then_close: bool = False


# Closes the connection without a byte of an answer, after the whole request was read.
CUT = Reply(raw=b"")


def envelope(data: Any = None, *, http_status: int = 200, **more: Any) -> Reply:
    """Make a reply of the service's form: `success`, `data` and what else is given."""
    return Reply(json.dumps({"success": http_status < 400, "data": data} | more).encode(), http_status)


def zipped(reply: Reply) -> Reply:
    """Make a reply whose body is gzipped."""
    return Reply(gzip.compress(reply.body), reply.status, {**reply.headers, "Content-Encoding": "gzip"}, reply.chunks)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._mine = cast("_Server", self.server)
        self._number = self._mine.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self._mine.shutdown_request(self.connection)
            self._mine.closed(self.connection)

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True  # the client went away, or is being sent away by `close`

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self._mine.take(Request(self.command, self.path, headers, body, self._number))
        if reply.until is not None:
            reply.until.wait(_LONGEST_WAIT_S)
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            self.close_connection = True
            return
        self.wfile.write(_bytes_of(reply))
        if reply.then_close:
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method it replaces
        """Keep quiet: what came in is recorded."""


def _bytes_of(reply: Reply) -> bytes:
    headers = {"Content-Type": "application/json", **reply.headers}
    body = reply.body
    if reply.chunks:
        headers["Transfer-Encoding"] = "chunked"
        size = max(1, -(-len(body) // reply.chunks))
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    else:
        headers["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} Told\r\n{head}\r\n".encode("latin-1") + body


class _Server(ThreadingHTTPServer):
    # Not daemons: `server_close` waits for them, so that a test leaves no thread behind.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, take: Callable[[Request], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.take = take
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.connections = 0

    def opened(self, connection: socket.socket) -> int:
        with self._lock:
            self.connections += 1
            self._open.add(connection)
            return self.connections

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    @property
    def open_connections(self) -> int:
        with self._lock:
            return len(self._open)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                try:
                    # Of the plain socket: TLS has no shutdown of one side that another thread could call.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                except OSError:
                    continue  # the other end was faster


class RecordingServer:
    """Serve `answer` until closed, and keep every request in `requests`, in order of arrival.

    Args:
        answer: gives the reply to a request; called in the connection's own thread.
        tls: serve https with this context.
    """

    def __init__(self, answer: Callable[[Request], Reply] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Callable[[Request], Reply] = answer or (lambda _request: envelope({}))
        self.requests: list[Request] = []
        self._server = _Server(self._take)
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        if tls:
            # The handshake is made at the first read, in the connection's thread: a bad one does not stop the others.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="recording-server"
        )
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many connections were made to it so far."""
        return self._server.connections

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self._server.open_connections

    def _take(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.answer(request)

    def tell(self, *replies: Reply) -> None:
        """Give these replies, one after the other, and the last one from then on."""
        left = list(replies)
        lock = threading.Lock()

        def answer(_request: Request) -> Reply:
            with lock:
                return left.pop(0) if len(left) > 1 else left[0]

        self.answer = answer

    def hang_up(self) -> None:
        """Cut every open connection."""
        self._server.hang_up()

    def close(self) -> None:
        """Cut every connection, stop, and wait for every thread."""
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
