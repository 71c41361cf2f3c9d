"""A stream of the sample meeting that runs, and somebody who takes what the server POSTs."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prefect_videodb.local_server import LocalServer
from tests.support.receiver import Receiver, running_receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as server:
        yield server


@pytest.fixture
def stream_id(server: LocalServer, api: Any) -> Iterator[str]:
    """Return a stream that records the sample meeting until the test is over."""
    stream_id = api.connect(server.sample_url)
    yield stream_id
    api.stop(stream_id)


@pytest.fixture
def scenes(api: Any, wait_until: Callable[..., Any]) -> Callable[..., list[dict[str, Any]]]:
    """Return what waits until an index says so many things, and returns them, the newest first."""

    def scenes(stream_id: str, index_id: str, least: int = 1, api: Any = api) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]] | None:
            found = api.data("GET", f"/rtstream/{stream_id}/index/scene/{index_id}")["scene_index_records"]
            return found if len(found) >= least else None

        return list(wait_until(look))

    return scenes
