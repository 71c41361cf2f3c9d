"""What the tests of the client share: a recording server, and both clients behind one face."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol, TypeVar

import pytest

from prefect_videodb.client import AsyncClient, Call, Client, Job, Polling
from prefect_videodb.client.transport import close_connections
from tests.support.recording_server import RecordingServer

T = TypeVar("T")
KEY = "sk-7c1f0e5b-the-key"


class Sender(Protocol):
    """The face of both clients, without `await`."""

    def send(self, call: Call[T], *, polling: Polling | None = None) -> T: ...
    def begin(self, call: Call[T]) -> T | Job[T]: ...
    def wait(self, job: Job[T], polling: Polling | None = None) -> T: ...


class Awaited:
    """An `AsyncClient` whose calls are run to their end, one by one, in an event loop of its own."""

    def __init__(self, **arguments: Any) -> None:
        self.runner = asyncio.Runner()
        self.runner.get_loop()  # now, or the sockets that it opens for itself would look like the client's
        try:
            self.client = AsyncClient(**arguments)
        except BaseException:
            self.runner.close()
            raise

    def __repr__(self) -> str:
        return repr(self.client)

    def send(self, call: Call[T], *, polling: Polling | None = None) -> T:
        return self.runner.run(self.client.send(call, polling=polling))

    def begin(self, call: Call[T]) -> T | Job[T]:
        return self.runner.run(self.client.begin(call))

    def wait(self, job: Job[T], polling: Polling | None = None) -> T:
        return self.runner.run(self.client.wait(job, polling))

    def end(self) -> None:
        """Close the client and its event loop."""
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


@pytest.fixture
def other_server() -> Iterator[RecordingServer]:
    with RecordingServer() as server:
        yield server


@pytest.fixture(params=[Client, Awaited], ids=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Sender]]:
    """Make a client of either kind. The connections are closed after the test, before the servers."""
    with ExitStack() as stack:
        stack.callback(close_connections)

        def make(base_url: str, **more: Any) -> Sender:
            client: Sender = request.param(**({"api_key": KEY, "base_url": base_url, "timeout_s": 60.0} | more))
            if isinstance(client, Awaited):
                stack.callback(client.end)
            return client

        yield make


@pytest.fixture
def client(connect: Callable[..., Sender], server: RecordingServer) -> Sender:
    """Give a client of the server."""
    return connect(server.url)


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies of the machine out of the tests; those that are about proxies set their own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
