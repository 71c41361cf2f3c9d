"""A source that is not there is tried until it is, or until the time is over."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from prefect_videodb._clock import counting_down
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import SourceError
from prefect_videodb.recording import stream
from prefect_videodb.recording.stream import make_sure_it_ingests
from tests.support.recording_server import RecordingServer, Reply, Request, envelope


class Service:
    """A service that knows one stream, and gives its source up each time that it is started, until told otherwise."""

    def __init__(self) -> None:
        self.starts = 0
        self.there_after = 1_000_000

    def answer(self, request: Request) -> Reply:
        self.starts += request.method == "PATCH"
        return envelope({"id": "rts-1", "status": "connected" if self.starts > self.there_after else "error"})


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def account(prefect_api: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[VideoDBCredentials]:
    assert prefect_api
    monkeypatch.setattr(stream, "_LOOK_S", 0.05)
    monkeypatch.setattr(stream, "_START_AGAIN_S", 0.1)
    with RecordingServer(service.answer) as server:
        yield VideoDBCredentials(api_key=SecretStr("sk-1"), base_url=server.url)


def test_a_source_that_the_service_gave_up_is_started_again_until_it_is_there(
    service: Service, account: VideoDBCredentials
) -> None:
    service.there_after = 3
    make_sure_it_ingests(account, "rts-1", counting_down(120.0))
    assert service.starts == 4


def test_it_is_not_waited_for_any_longer_once_the_time_is_over(service: Service, account: VideoDBCredentials) -> None:
    with pytest.raises(SourceError, match="cannot ingest"):
        make_sure_it_ingests(account, "rts-1", lambda: 1000.0 if service.starts < 3 else 0.0)
    assert service.starts == 3
