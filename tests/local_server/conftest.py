"""A running server with the sample meeting, a client that speaks plain HTTP to it, and one recorded meeting."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from prefect_videodb.local_server import LocalServer
from tests.support.speech import OneSentence

T = TypeVar("T")
KEY = "a key for tests"
LONG_ENOUGH_S = 120.0


class Api(httpx.Client):
    """Plain HTTP with the key, and what every test does with it."""

    def __init__(self, base_url: str) -> None:
        # The generous time-out is for machines that do other work beside.
        super().__init__(base_url=base_url, headers={"x-access-token": KEY}, timeout=LONG_ENOUGH_S)

    def data(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the data of a successful answer, which may have to be polled for."""
        response = self.request(method, path, **arguments)
        assert response.is_success, response.text
        return self.result(response).get("data")

    def refusal(self, method: str, path: str, **arguments: Any) -> tuple[int, str]:
        """Return status and message of an answer that must be a refusal."""
        response = self.request(method, path, **arguments)
        body = response.json()
        assert body["success"] is False, body
        return response.status_code, body["message"]

    def result(self, response: httpx.Response) -> dict[str, Any]:
        """Return what an answer comes to, polled like the SDK does."""
        body = response.json()
        if body.get("status") != "processing" or "output_url" not in (body.get("data") or {}):
            return dict(body)
        done = wait_until(lambda: self._done(body["data"]["output_url"]))
        return dict(done["response"])

    def _done(self, output_url: str) -> dict[str, Any] | None:
        body: dict[str, Any] = self.get(output_url).json()
        return None if body["status"] == "processing" else body

    def connect(self, url: str, **fields: Any) -> str:
        """Connect a stream and return its id."""
        body = {"url": url, "name": "Meeting", "media_types": ["audio", "video"], "store": True, **fields}
        return str(self.data("POST", "/rtstream", json=body)["id"])

    def stop(self, stream_id: str) -> None:
        """Stop a stream."""
        self.data("PATCH", f"/rtstream/{stream_id}/status", json={"action": "stop"})

    def recorded_s(self, stream_id: str, since: float) -> float:
        """Return how many seconds of a stream can be played."""
        response = self.get(f"/rtstream/{stream_id}/stream", params={"start": since, "end": time.time() + 60})
        if response.status_code == httpx.codes.NOT_FOUND:
            return 0.0
        playlist = self.get(response.json()["data"]["stream_url"]).text
        return sum(float(line[8:].rstrip(",")) for line in playlist.splitlines() if line.startswith("#EXTINF:"))


@dataclass(frozen=True)
class Meeting:
    """A recorded, stopped and exported stream."""

    stream_id: str
    started_at: float
    export: dict[str, Any]

    @property
    def video_id(self) -> str:
        """The id of its video."""
        return str(self.export["video_id"])


def wait_until(look: Callable[[], T | None], timeout_s: float = LONG_ENOUGH_S) -> T:
    """Return what `look` sees as soon as that is anything but None or False."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.1)
    raise AssertionError(f"not seen within {timeout_s} s")


@pytest.fixture(name="wait_until", scope="session")
def wait_until_fixture() -> Callable[..., Any]:
    return wait_until


@pytest.fixture(scope="session")
def key() -> str:
    return KEY


@pytest.fixture(scope="session")
def make_api() -> Callable[[str], Api]:
    return Api


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    # What the recognizer understands is asked in `test_speech`, and of a stream that runs in `live/test_indexes`.
    with LocalServer(tmp_path_factory.mktemp("server"), api_key=KEY, speech=OneSentence()) as running:
        yield running


@pytest.fixture(scope="session")
def api(server: LocalServer) -> Iterator[Api]:
    with Api(server.base_url) as client:
        yield client


@pytest.fixture(scope="session")
def stranger(server: LocalServer) -> Iterator[httpx.Client]:
    """Return a client that has no key."""
    with httpx.Client(base_url=server.base_url, timeout=LONG_ENOUGH_S) as client:
        yield client


@pytest.fixture(scope="session")
def record(server: LocalServer, api: Api) -> Callable[..., tuple[str, float]]:
    """Return what records so many seconds of the sample meeting, and stops."""

    def record(duration_s: float, **fields: Any) -> tuple[str, float]:
        started_at = time.time()
        stream_id = api.connect(server.sample_url, **fields)
        wait_until(lambda: api.recorded_s(stream_id, started_at) >= duration_s)
        api.stop(stream_id)
        return stream_id, started_at

    return record


@pytest.fixture(scope="session")
def meeting(api: Api, record: Callable[..., tuple[str, float]]) -> Meeting:
    """Return 22 s of the sample meeting, in which several sentences are heard."""
    stream_id, started_at = record(22)
    return Meeting(stream_id, started_at, api.data("POST", f"/rtstream/{stream_id}/export", json={"name": "Weekly"}))


@pytest.fixture(scope="session")
def indexed(api: Api, meeting: Meeting) -> Meeting:
    """Return the meeting with its spoken words indexed."""
    api.data("POST", f"/video/{meeting.video_id}/index", json={"index_type": "spoken_word", "force": True})
    return meeting


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"
