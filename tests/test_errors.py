"""The tree of errors: whole, drawn as it is, and able to travel between processes."""

import base64
import importlib
import inspect
import json
import pickle
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.serializers import JSONSerializer, PickleSerializer

import prefect_videodb
from prefect_videodb import errors
from prefect_videodb.client import Call, Job, alerts, meetings, sessions, streams
from prefect_videodb.client.answer import Answer, read
from prefect_videodb.client.models import Alerts, CaptureSession, ClientToken, Export, Meeting, RTStream
from prefect_videodb.errors import JobUnfinished, RateLimited, ServiceError, UnexpectedAnswer, VideoDBError

EVERY_ERROR = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, VideoDBError)]


def _drawn() -> dict[str, str]:
    """Read the tree of the docstring: each name with the name above it."""
    above: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^    ([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(match[1])
            path = [entry for entry in path if entry[0] < depth]
            above[match[2]] = path[-1][1] if path else ""
            path.append((depth, match[2]))
    return above


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert _drawn() == {kind.__name__: "" if kind is VideoDBError else kind.__mro__[1].__name__ for kind in EVERY_ERROR}


def test_every_error_says_what_it_is_about() -> None:
    for kind in EVERY_ERROR:
        assert (kind.__doc__ or "").strip()


def test_only_what_was_not_carried_out_is_safe_to_repeat_unless_the_caller_knows_more() -> None:
    assert {kind.__name__ for kind in EVERY_ERROR if kind("x").retry_is_safe} == {"NotConnected", "RateLimited"}
    for kind in EVERY_ERROR:
        assert kind("x", retry_is_safe=True).retry_is_safe
        assert not kind("x", retry_is_safe=False).retry_is_safe


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_an_error_survives_the_way_to_another_process(kind: type[VideoDBError]) -> None:
    more: dict[str, Any] = {}
    if issubclass(kind, ServiceError | UnexpectedAnswer):
        more = {"status": 418, "raw": '{"success": false}'}
    if kind is JobUnfinished:
        call = Call("POST", "/rtstream/rts-1/export", Export.model_validate, json={}, repeatable=True)
        more = {"job": Job(call, "https://127.0.0.1/async-response/1", 40.0), "percentage": 40.0}
    error = kind("it went wrong", retry_is_safe=True, **more)
    if isinstance(error, RateLimited | errors.ServiceUnavailable):
        error.retry_after_s = 7.5
    error.add_note("a note")

    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(again) is kind
    assert str(again) == "it went wrong"
    assert vars(again) == vars(error)
    assert again.retry_is_safe
    for name, value in more.items():
        assert getattr(again, name) == value


def test_a_configuration_error_is_a_value_error() -> None:
    assert issubclass(errors.ConfigurationError, ValueError)


SECRETS = ("s3cr3t-hook-token", "s3cr3t-pass", "s3cr3t-key")
HOOK = "https://me.example/videodb/door/s3cr3t-hook-token"
SOURCE = "rtsp://admin:s3cr3t-pass@camera/room?key=s3cr3t-key"
CALLS = [
    alerts.create("rts-1", "0000", "e-1", HOOK),
    sessions.create("someone", callback_url=HOOK),
    meetings.record(SOURCE, callback_url=HOOK, callback_data={"x": "s3cr3t-key"}),
    streams.connect(SOURCE, "Room"),
]


def _stored(value: Any) -> str:
    """Everything that Prefect may keep of a value: pickled in both ways, as JSON, and as text."""
    state = State(type=StateType.FAILED, message=str(value))
    return "\n".join(
        [
            pickle.dumps(value).decode("latin-1"),
            cloudpickle.dumps(value).decode("latin-1"),
            PickleSerializer().dumps(value).decode("latin-1"),
            base64.b64decode(PickleSerializer().dumps(value)).decode("latin-1"),
            JSONSerializer().dumps(value).decode(),
            state.model_dump_json(),
            repr(value),
        ]
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_stored_error_holds_no_secret_of_its_call(call: Call[Any]) -> None:
    error = JobUnfinished("still not done", job=Job(call, f"/async-response/1?back={call.secrets[0]}"), percentage=4.0)
    kept = _stored(error)
    assert not [secret for secret in SECRETS if secret in kept]
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(again.job.call), again.percentage) == (str(call), 4.0)
    assert (again.job.call.json, again.job.call.secrets) == (None, ())
    assert again.job.call.read == call.read or again.job.call.read.model  # it can be waited for


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 501, 503])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_stored_refusal_holds_no_secret(call: Call[Any], status: int) -> None:
    sent = json.dumps(call.json)
    said = {"success": False, "message": f"no {sent} s3cr3t-key\n\x1b[31m", "data": {"callback_url": HOOK}}
    for body in (
        json.dumps(said),
        json.dumps([said]),
        f"<html>{sent}",
        json.dumps({"success": True, "data": [call.json]}),
    ):
        with pytest.raises(VideoDBError) as caught:
            read(call, Answer(status, {}, body.encode(), (*call.secrets, "s3cr3t-key")))
        kept = "\n".join(f"{_stored(error)}\n{error.args!r}\n{vars(error)!r}" for error in _chain(caught.value))
        assert not [secret for secret in SECRETS if secret in kept]
        assert str(caught.value).isprintable()  # one line, no control codes


@pytest.mark.parametrize(
    "answer",
    [
        Alerts.model_validate({"alerts": [{"alert_id": "a", "callback_url": HOOK, "back": {"callback_url": HOOK}}]}),
        RTStream.model_validate({"id": "rts-1", "url": SOURCE, "source": SOURCE}),
        Meeting.model_validate({"meeting_id": "m", "meeting_url": SOURCE, "callback_url": HOOK}),
        CaptureSession.model_validate(
            {"session_id": "s", "callback_url": HOOK, "rtstreams": [{"id": "r", "url": SOURCE}]}
        ),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_stored_result_holds_nothing_hidden(answer: Any) -> None:
    kept = _stored(answer)
    assert not [secret for secret in SECRETS if secret in kept]
    assert type(pickle.loads(pickle.dumps(answer))) is type(answer)  # noqa: S301 - our own bytes


def test_a_token_that_was_asked_for_is_in_its_result() -> None:
    again = pickle.loads(pickle.dumps(ClientToken.model_validate({"token": "s3cr3t-key"})))  # noqa: S301 - our own bytes
    assert again.token.get_secret_value() == "s3cr3t-key"


def test_every_exception_of_the_package_survives_pickling() -> None:
    found = set()
    for module in pkgutil.walk_packages(prefect_videodb.__path__, "prefect_videodb."):
        if not module.name.endswith("__main__") and ".local_server" not in module.name:
            for value in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(value) and issubclass(value, VideoDBError):
                    found.add(value)
    assert len(found) > len(EVERY_ERROR)
    for kind in found:
        assert str(pickle.loads(pickle.dumps(kind("x")))) == "x"  # noqa: S301 - our own bytes
