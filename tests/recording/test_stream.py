"""A source that is not there is tried until it is, or until the time is over."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from prefect_videodb._clock import counting_down
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import SourceError
from prefect_videodb.recording import stream
from prefect_videodb.recording.stream import make_sure_it_ingests


class Service(ThreadingHTTPServer):
    """A service that knows one stream, and gives its source up each time that it is started, until told otherwise."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.starts = 0
        self.there_after = 1_000_000


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Service)
        status = "connected" if self.server.starts > self.server.there_after else "error"
        self._answer({"id": "rts-1", "status": status})

    def do_PATCH(self) -> None:
        assert isinstance(self.server, Service)
        self.rfile.read(int(self.headers["content-length"]))
        self.server.starts += 1
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        del format, args

    def _answer(self, data: object) -> None:
        body = json.dumps({"success": True, "data": data}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def service(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    assert prefect_api
    monkeypatch.setattr(stream, "_LOOK_S", 0.05)
    monkeypatch.setattr(stream, "_START_AGAIN_S", 0.1)
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.1,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def account(service: Service) -> VideoDBCredentials:
    return VideoDBCredentials(api_key=SecretStr("sk-1"), base_url=f"http://127.0.0.1:{service.server_port}")


def test_a_source_that_the_service_gave_up_is_started_again_until_it_is_there(
    service: Service, account: VideoDBCredentials
) -> None:
    service.there_after = 3
    make_sure_it_ingests(account, "rts-1", counting_down(120.0))
    assert service.starts == 4


def test_it_is_not_waited_for_any_longer_once_the_time_is_over(service: Service, account: VideoDBCredentials) -> None:
    def until_the_end_is_moved() -> Callable[[], float]:
        return lambda: 1000.0 if service.starts < 3 else 0.0

    with pytest.raises(SourceError, match="cannot ingest"):
        make_sure_it_ingests(account, "rts-1", until_the_end_is_moved())
    assert service.starts == 3
