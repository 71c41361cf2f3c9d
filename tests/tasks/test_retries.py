"""When a task is retried: when the error says that this can do no harm, and after as long as the service asks."""

import time
from typing import Any

import pytest
from prefect import Task, flow

from prefect_videodb import tasks
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import (
    AnswerLost,
    AuthenticationError,
    InvalidRequest,
    JobUnfinished,
    NotConnected,
    NotFound,
    OutOfCredits,
    RateLimited,
    ServiceUnavailable,
)
from prefect_videodb.tasks import connect_rtstream, create_collection, export_rtstream, get_collection
from tests.support.processes import free_port
from tests.support.recording_server import CUT, RecordingServer, envelope

COLLECTION = envelope({"id": "c-1"})


def _quick(task: Task[..., Any]) -> Task[..., Any]:
    """Give the task with its rules and without its delays."""
    return task.with_options(retry_delay_seconds=0)


def _in_a_flow(task: Task[..., Any], *arguments: Any, **options: Any) -> Any:
    @flow
    def once() -> Any:
        return task(*arguments, **options)

    return once()


@pytest.fixture(autouse=True)
def _api(prefect_api: str) -> None:
    assert prefect_api


@pytest.mark.parametrize(
    "stumble", [CUT, envelope(http_status=500), envelope(http_status=503), envelope(http_status=429)]
)
def test_what_may_be_repeated_is_repeated(account: VideoDBCredentials, service: RecordingServer, stumble: Any) -> None:
    service.tell(stumble, stumble, COLLECTION)
    assert _in_a_flow(_quick(get_collection), account).id == "c-1"
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (envelope(http_status=401, message="bad key"), AuthenticationError),
        (envelope(http_status=402), OutOfCredits),
        (envelope(http_status=404), NotFound),
        (envelope(http_status=422), InvalidRequest),
        (envelope(success=False, message="no"), InvalidRequest),
    ],
)
def test_what_will_not_change_is_not_asked_again(
    account: VideoDBCredentials, service: RecordingServer, answer: Any, error: type[Exception]
) -> None:
    service.tell(answer)
    with pytest.raises(error):
        _in_a_flow(_quick(get_collection), account)
    assert len(service.requests) == 1


@pytest.mark.parametrize(("stumble", "error"), [(CUT, AnswerLost), (envelope(http_status=503), ServiceUnavailable)])
def test_what_creates_something_is_not_repeated_when_it_may_have_been_done(
    account: VideoDBCredentials, service: RecordingServer, stumble: Any, error: type[Exception]
) -> None:
    service.tell(stumble)
    with pytest.raises(error):
        _in_a_flow(_quick(connect_rtstream), account, "rtsp://camera/room", "x")
    with pytest.raises(error):
        _in_a_flow(_quick(create_collection), account, "x", "y")
    assert len(service.requests) == 2


def test_what_creates_something_is_repeated_when_it_was_refused_for_now(
    account: VideoDBCredentials, service: RecordingServer
) -> None:
    service.tell(envelope(http_status=429), envelope({"id": "rts-1"}))
    assert _in_a_flow(_quick(connect_rtstream), account, "rtsp://camera/room", "x").id == "rts-1"


def test_a_service_that_cannot_be_reached_is_tried_again_and_then_named() -> None:
    nobody = VideoDBCredentials.model_validate({"api_key": "k", "base_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(NotConnected, match="is the base URL right, and the service up"):
        _in_a_flow(_quick(connect_rtstream), nobody, "rtsp://user:hunter22@camera/room", "x")


def test_the_service_is_given_the_time_that_it_asks_for(account: VideoDBCredentials, service: RecordingServer) -> None:
    arrivals: list[float] = []
    answers = [envelope(http_status=429), COLLECTION]
    answers[0] = type(answers[0])(answers[0].body, 429, {"Retry-After": "4"})

    def answer(_request: object) -> Any:
        arrivals.append(time.monotonic())
        return answers[min(len(arrivals), len(answers)) - 1]

    service.answer = answer
    _in_a_flow(get_collection, account)
    assert arrivals[1] - arrivals[0] >= 4.0


def test_a_service_that_asks_for_an_hour_is_not_waited_for(
    account: VideoDBCredentials, service: RecordingServer
) -> None:
    busy = envelope(http_status=429)
    service.tell(type(busy)(busy.body, 429, {"Retry-After": "3600"}))
    with pytest.raises(RateLimited):
        _in_a_flow(get_collection, account)
    assert len(service.requests) == 1


def test_a_wait_that_is_over_is_not_waited_again(account: VideoDBCredentials, service: RecordingServer) -> None:
    service.answer = lambda request: (
        envelope(status="processing", request_type="sync", data={"output_url": f"{service.url}/async-response/1"})
        if request.method == "POST"
        else envelope(status="processing")
    )
    with pytest.raises(JobUnfinished, match="wait again"):
        _in_a_flow(_quick(export_rtstream), account, "rts-1", timeout_s=0.2)
    assert [request.method for request in service.requests].count("POST") == 1


def test_every_task_has_these_rules() -> None:
    for name in tasks.__all__:
        task = getattr(tasks, name)
        assert task.retries == 4, name
        assert task.retry_condition_fn.__name__ == "retry_is_safe", name
        assert task.persist_result is False, name
        assert {"credentials", "connection"} & set(task.fn.__annotations__), name
        assert "Source:" in (task.fn.__doc__ or ""), name
