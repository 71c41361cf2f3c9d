"""A real HTTP proxy in front of a service, that does to chosen requests what networks and services do."""

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["cut before", "cut within", "cut after", "hang after", "kill before", "kill after"]
_SERVICE_FAILED = 500
_KEPT = {"content-type", "content-encoding", "content-range", "accept-ranges", "etag", "last-modified", "location"}


@dataclass
class Rule:
    """What happens to the requests that match.

    Attributes:
        method: HTTP method.
        path: a regular expression that the path with its query holds.
        fault: `cut before` the request reached the service; `cut after` it did and before the answer; `cut within`
            the answer, after half of its body; `hang after` it did, for a while, and then cut; `kill before` and
            `kill after` do so as the cuts do, and call `kill` first; or an HTTP status to answer instead of passing
            the request on.
        times: how many requests it happens to.
        headers: sent with a status.
        skip: how many requests that match pass before it happens.
        kill: ends the process that asks.
        hang_s: how long that while is; seconds.
    """

    method: str
    path: str
    fault: Fault | int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    skip: int = 0
    kill: Callable[[], None] | None = None
    hang_s: float = 5.0


class FaultyProxy:
    """Pass requests on to `target`, but for what the rules say. `seen` lists what came in; several may share it.

    WebSockets pass unseen, and so does what is asked again because the service itself failed.

    Args:
        target: the service.
        seen: where to list what came in.
        named: gives the text by which a request is known, from its path and body; its path when None.
    """

    def __init__(
        self, target: str, seen: list[str] | None = None, named: Callable[[str, bytes], str] | None = None
    ) -> None:
        self._named = named or (lambda path, _: path)
        self._failed: set[tuple[str, str, bytes]] = set()
        self.target = urlsplit(target)
        self.rules: list[Rule] = []
        self.seen: list[str] = [] if seen is None else seen
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_any(self) -> None:
                proxy.handle(self)

            do_GET = do_HEAD = do_POST = do_any  # noqa: N815 - the names that the base class looks up
            do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815 - the same

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
                """Requests are in `seen`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["FaultyProxy"]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Do to one request what the first rule that matches says, or pass it on."""
        if request.headers.get("upgrade", "").lower() == "websocket":
            self._tunnel(request)
            return
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        this = (request.command, request.path, body)
        rule = None if self._is_asked_again(this) else self._take(request.command, self._named(request.path, body))
        if rule is not None and isinstance(rule.fault, int):
            _answer(request, rule.fault, rule.headers, b'{"success": false, "message": "as the test wants it"}')
            return
        if rule is not None and rule.fault in {"cut before", "kill before"}:
            if rule.kill:
                rule.kill()
            _cut(request)
            return
        status, headers, answer = self._forward(request, body)
        if status >= _SERVICE_FAILED:
            with self._lock:
                self._failed.add(this)
        if rule is not None and rule.fault == "hang after":
            time.sleep(rule.hang_s)
        if rule is not None and rule.fault == "cut within":
            _answer(request, status, {**headers, "content-length": str(len(answer))}, answer[: len(answer) // 2])
        if rule is not None:
            if rule.kill:
                rule.kill()
            _cut(request)
            return
        _answer(request, status, headers, answer)

    def _is_asked_again(self, this: tuple[str, str, bytes]) -> bool:
        with self._lock:
            known = this in self._failed
            self._failed.discard(this)
            return known

    def _take(self, method: str, path: str) -> Rule | None:
        with self._lock:
            self.seen.append(f"{method} {path}")
            for rule in self.rules:
                if rule.times > 0 and rule.method == method and re.search(rule.path, path):
                    if rule.skip > 0:
                        rule.skip -= 1
                        continue
                    rule.times -= 1
                    return rule
        return None

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.target.hostname or "", self.target.port, timeout=120)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
            if "100-continue" in request.headers.get("expect", ""):
                _ask_first(connection, request, headers, body)
            else:
                connection.request(request.command, request.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            kept = {name.lower(): value for name, value in answer.getheaders() if name.lower() in _KEPT}
            if request.command == "HEAD":
                kept["content-length"] = answer.headers["content-length"]
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _tunnel(self, request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with socket.create_connection((self.target.hostname or "", self.target.port or 80)) as service:
            lines = [request.requestline, *(f"{name}: {value}" for name, value in request.headers.items())]
            service.sendall("\r\n".join([*lines, "", ""]).encode())
            back = threading.Thread(target=_copy, args=(service, request.connection), daemon=True)
            back.start()
            _copy(request.connection, service)
            back.join()


def _ask_first(
    connection: http.client.HTTPConnection, request: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes
) -> None:
    """Send the body only to a service that says that it wants it: one that refuses closes the connection upon it."""
    connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    if b" 100 " in connection.sock.recv(16, socket.MSG_PEEK):
        connection.send(body)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until one side is gone, and let the other side know."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    if "content-length" not in headers:
        request.send_header("content-length", str(len(body)))
    try:
        request.end_headers()
        request.wfile.write(body)
    except ConnectionError:  # who asked is dead
        request.close_connection = True


def _cut(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    with suppress(OSError):  # the other side may be dead
        request.connection.shutdown(socket.SHUT_RDWR)
