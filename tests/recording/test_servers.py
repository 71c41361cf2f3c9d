"""A Prefect server has one identity, whoever asks first; and no recording waits for it."""

import json
import threading

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.variables import Variable

from prefect_videodb.recording.servers import VARIABLE, this_server
from tests.support.recording_server import RecordingServer, Reply, Request

THEIRS = "0123456789ab"


class Prefect(RecordingServer):
    """A Prefect server that answers what a test says to what is asked of its variables."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__(self._answer)
        self.asked: list[Request] = []
        self._left = list(replies)

    def _answer(self, request: Request) -> Reply:
        if "/variables" not in request.path:
            return Reply(status=404)  # as one that knows no token against forged requests
        self.asked.append(request)
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


def ask(server: RecordingServer) -> str | None:
    with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}), get_client(sync_client=True) as client:
        return this_server(client)


def variable(value: object) -> Reply:
    return Reply(json.dumps({"name": VARIABLE, "value": value}).encode())


def test_the_identity_is_a_variable_of_prefects_that_is_made_where_there_is_none(prefect_api: str) -> None:
    assert prefect_api
    with get_client(sync_client=True) as client:
        made = this_server(client)
        assert made is not None
        assert Variable.get(VARIABLE) == made
        assert this_server(client) == made


def test_of_two_that_make_it_at_once_both_end_with_the_same_one() -> None:
    with Prefect(Reply(status=404), Reply(status=409), variable(THEIRS)) as server:
        assert ask(server) == THEIRS
        assert [request.method for request in server.asked] == ["GET", "POST", "GET"]


def test_all_recordings_of_a_process_ask_once() -> None:
    with Prefect(variable(THEIRS)) as server:
        got: list[str | None] = []
        threads = [threading.Thread(target=lambda: got.append(ask(server))) for _ in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert got == [THEIRS] * 9
        assert len(server.asked) == 1


@pytest.mark.parametrize("reply", [Reply(status=500), variable("a person's"), variable({"a": "b"}), Reply(b"no JSON")])
def test_a_server_that_cannot_tell_its_identity_keeps_nobody_waiting(reply: Reply) -> None:
    with Prefect(reply) as server:
        assert ask(server) is None
        asked = len(server.asked)
        assert ask(server) is None
        assert len(server.asked) == asked  # those that begin in the same moment do not ask again


def test_a_server_that_refused_once_is_asked_again() -> None:
    with Prefect(Reply(status=503), variable(THEIRS)) as server:
        assert ask(server) == THEIRS
