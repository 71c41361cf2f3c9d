"""Events, live indexes and alerts are made once, whatever happens to the answer."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow
from pydantic import SecretStr

from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.errors import AnswerLost, ConfigurationError, ServiceUnavailable
from prefect_videodb.tasks import ensure_alert, ensure_event, ensure_scene_index
from tests.support.recording_server import CUT, RecordingServer, Reply, Request, envelope
from tests.tasks.live_service import LiveService

HOOK = "https://me.example/hook/1c0ffee5-token"
Ensure = Callable[[VideoDBCredentials], Any]


def _event(account: VideoDBCredentials) -> Any:
    return ensure_event.fn(account, "door", "The door is open")


def _index(account: VideoDBCredentials) -> Any:
    return ensure_scene_index.fn(account, "rts-1", "Door", prompt="Is the door open?")


def _alert(account: VideoDBCredentials) -> Any:
    return ensure_alert.fn(account, "rts-1", "0000", "e-1", SecretStr(HOOK))


EACH = pytest.mark.parametrize(
    ("ensure", "what"), [(_event, "events"), (_index, "indexes"), (_alert, "alerts")], ids=["event", "index", "alert"]
)


@pytest.fixture
def held(service: RecordingServer) -> LiveService:
    return LiveService(service)


@EACH
def test_it_is_made_once_and_then_adopted(
    account: VideoDBCredentials, held: LiveService, ensure: Ensure, what: str
) -> None:
    first = ensure(account)
    assert ensure(account).id == first.id
    assert len(getattr(held, what)) == 1


@EACH
@pytest.mark.parametrize("answer", [CUT, envelope(http_status=504)], ids=["cut", "gateway"])
def test_what_was_made_and_not_answered_is_adopted(
    account: VideoDBCredentials, held: LiveService, ensure: Ensure, what: str, answer: Reply
) -> None:
    held.after = lambda request: answer if request.method == "POST" else None
    made = ensure(account)
    assert [entry for entry in getattr(held, what) if made.id in entry.values()]
    assert len(getattr(held, what)) == 1


@pytest.mark.parametrize(
    ("ensure", "what", "answer", "error"),
    [
        (_event, "events", CUT, AnswerLost),
        (_index, "indexes", envelope(http_status=503), ServiceUnavailable),
        (_alert, "alerts", CUT, AnswerLost),
    ],
    ids=["event", "index", "alert"],
)
def test_what_never_arrived_may_be_tried_again(
    *,
    account: VideoDBCredentials,
    held: LiveService,
    ensure: Ensure,
    what: str,
    answer: Reply,
    error: type[AnswerLost | ServiceUnavailable],
) -> None:
    held.before = lambda request: answer if request.method == "POST" else None
    with pytest.raises(error) as lost:
        ensure(account)
    assert lost.value.retry_is_safe
    assert getattr(held, what) == []


@EACH
def test_what_shows_late_is_waited_for(
    account: VideoDBCredentials, held: LiveService, ensure: Ensure, what: str
) -> None:
    ensure(account)
    late = getattr(held, what).copy()
    getattr(held, what).clear()

    def lose(request: Request) -> Reply | None:
        if request.method == "POST":
            threading.Timer(2.5, getattr(held, what).extend, [late]).start()
            return CUT
        return None

    held.before = lose
    assert ensure(account).id in late[0].values()
    assert len(getattr(held, what)) == 1


@pytest.mark.parametrize(("label", "prompt"), [("door", "The window is open"), ("window", "The door is open")])
def test_an_event_of_another_label_or_prompt_is_another_event(
    account: VideoDBCredentials, held: LiveService, label: str, prompt: str
) -> None:
    first = _event(account)
    assert ensure_event.fn(account, label, prompt).id != first.id
    assert len(held.events) == 2


def test_an_index_that_was_stopped_is_started_again(account: VideoDBCredentials, held: LiveService) -> None:
    first = _index(account)
    held.indexes[0]["status"] = "stopped"
    again = _index(account)
    assert (again.id, again.status, held.indexes[0]["status"]) == (first.id, "running", "running")


def test_of_several_indexes_of_one_name_one_goes_on(account: VideoDBCredentials, held: LiveService) -> None:
    _index(account)
    held.indexes += [held.indexes[0] | {"rtstream_index_id": "zz"}, held.indexes[0] | {"rtstream_index_id": "00"}]
    held.indexes[2]["status"] = "stopped"
    assert _index(account).id == held.indexes[0]["rtstream_index_id"]
    assert [index["status"] for index in held.indexes] == ["running", "stopped", "stopped"]


@pytest.mark.parametrize("other", [{"kind": "audio"}, {"prompt": "Who is it?"}], ids=str)
def test_an_index_of_that_name_for_something_else_is_not_adopted(
    account: VideoDBCredentials, held: LiveService, other: dict[str, Any]
) -> None:
    _index(account)
    with pytest.raises(ConfigurationError, match="another name"):
        ensure_scene_index.fn(account, "rts-1", "Door", **{"prompt": "Is the door open?", **other})
    assert len(held.indexes) == 1


def test_an_index_is_made_with_the_batch_that_was_given(account: VideoDBCredentials, held: LiveService) -> None:
    batch = {"type": "sentence", "value": 3}
    ensure_scene_index.fn(account, "rts-1", "Talk", kind="audio", batch_config=batch)
    assert held.indexes[0]["extraction_config"] == {"segmenter": "sentence", "segmentation_value": 3}
    with pytest.raises(ConfigurationError):
        ensure_scene_index.fn(account, "rts-1", "Look", batch_config=batch)


@pytest.mark.parametrize(("event_id", "hook"), [("e-2", HOOK), ("e-1", HOOK + "x")])
def test_an_alert_for_another_event_or_callback_is_another_alert(
    account: VideoDBCredentials, held: LiveService, event_id: str, hook: str
) -> None:
    _alert(account)
    ensure_alert.fn(account, "rts-1", "0000", event_id, hook)
    assert len(held.alerts) == 2


def test_an_alert_that_was_disabled_is_enabled_again(account: VideoDBCredentials, held: LiveService) -> None:
    first = _alert(account)
    held.alerts[0]["status"] = "disabled"
    again = _alert(account)
    assert (again.id, again.status, held.alerts[0]["status"]) == (first.id, "enabled", "enabled")


def test_of_several_alerts_for_one_callback_one_tells(account: VideoDBCredentials, held: LiveService) -> None:
    _alert(account)
    held.alerts += [held.alerts[0] | {"alert_id": "zz"}]
    _alert(account)
    assert [alert["status"] for alert in held.alerts] == ["enabled", "disabled"]


def test_an_alert_names_its_event_as_a_firing_does(account: VideoDBCredentials, held: LiveService) -> None:
    _alert(account)
    held.alerts[0]["event_id"] = "event-e-1"
    _alert(account)
    assert len(held.alerts) == 1


def test_no_log_and_no_error_shows_the_callback(
    account: VideoDBCredentials, held: LiveService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    made = _alert(account)
    assert plain_of(made) == HOOK
    held.before = lambda request: CUT if request.method == "POST" else None
    held.alerts.clear()
    with pytest.raises(AnswerLost) as lost:
        _alert(account)
    held.before = lambda _request: Reply(f'{{"success": true, "data": "{HOOK}"}}'.encode())
    with pytest.raises(Exception, match="cannot be read") as unread:
        ensure_alert.fn(account, "rts-1", "0000", "e-1", HOOK)
    assert "1c0ffee5" not in caplog.text + repr(made) + repr(lost.value) + repr(vars(lost.value))
    assert unread.value


def plain_of(alert: Any) -> str:
    """Read the callback as code does that needs it."""
    return str(alert.callback_url.get_secret_value())


def test_a_task_that_prefect_repeats_makes_no_second_one(
    prefect_api: str, account: VideoDBCredentials, held: LiveService
) -> None:
    assert prefect_api
    lost: list[Request] = []

    def lose_the_first(request: Request) -> Reply | None:
        if request.method == "POST" and not lost:
            lost.append(request)
            return CUT
        return None

    held.before = lose_the_first

    @flow
    def watch() -> str:
        ensure = ensure_event.with_options(retry_delay_seconds=0)
        return str(ensure(account, "door", "The door is open").id)

    assert watch() == held.events[0]["event_id"]
    assert len(lost) == 1
    assert len(held.events) == 1
