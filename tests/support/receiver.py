"""Somebody who takes what is POSTed to them."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """A webhook's receiver; as many bodies as `refusals` says are refused first.

    Asked for its health with the header that `token` makes, it answers `health`; with another one, 401.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusals = 0
        self.token = ""
        self.tokens_before: list[str] = []  # one for each request, until it goes by `token`
        self.health: dict[str, Any] = {"waiting": 0, "troubles": [], "dispatcher": "working"}
        self.bodies: queue.Queue[dict[str, Any]] = queue.Queue()
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        """Where to POST; it holds a token, as a careful user's does."""
        return f"http://127.0.0.1:{self.server_port}/done?token=secret"

    def take(self) -> dict[str, Any]:
        """Return the next body that was accepted."""
        return self.bodies.get(timeout=120)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.paths.append(self.path)
        refused = self.server.refusals > 0
        self.server.refusals -= refused
        self.send_response(503 if refused else 204)
        self.end_headers()
        if not refused:
            self.server.bodies.put(json.loads(body))

    def do_GET(self) -> None:
        assert isinstance(self.server, Receiver)
        token = self.server.tokens_before.pop(0) if self.server.tokens_before else self.server.token
        is_known = self.headers.get("authorization") == f"Bearer {token}"
        body = json.dumps(self.server.health if is_known else {"detail": "unauthorized"}).encode()
        self.send_response((200 if is_known else 401) if self.path == "/healthz" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that its base class gives it
        """Say nothing."""


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Give a receiver that listens."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
