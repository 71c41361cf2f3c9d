"""A stream of the sample meeting that runs, and somebody who takes what the server POSTs."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer


class Receiver(ThreadingHTTPServer):
    """A webhook's receiver; the first `refusals` bodies are refused."""

    def __init__(self, refusals: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusals = refusals
        self.bodies: queue.Queue[dict[str, Any]] = queue.Queue()
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        """Where to POST; the path holds a token, as a careful user's does."""
        return f"http://127.0.0.1:{self.server_address[1]}/alerts/token-of-the-test"

    def take(self) -> dict[str, Any]:
        """Return the next body that was accepted."""
        return self.bodies.get(timeout=120)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.paths.append(self.path)
        refused = self.server.refusals > 0
        self.server.refusals -= refused
        self.send_response(503 if refused else 204)
        self.end_headers()
        if not refused:
            self.server.bodies.put(json.loads(body))

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def stream_id(server: LocalServer, api: Any) -> Iterator[str]:
    """Return a stream that records the sample meeting until the test is over."""
    stream_id = api.connect(server.sample_url)
    yield stream_id
    api.stop(stream_id)


@pytest.fixture
def scenes(api: Any, wait_until: Callable[..., Any]) -> Callable[..., list[dict[str, Any]]]:
    """Return what waits until an index says so many things, and returns them, the newest first."""

    def scenes(stream_id: str, index_id: str, least: int = 1) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]] | None:
            found = api.data("GET", f"/rtstream/{stream_id}/index/scene/{index_id}")["scene_index_records"]
            return found if len(found) >= least else None

        return list(wait_until(look))

    return scenes
