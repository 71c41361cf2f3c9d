"""The tree of errors: whole, drawn as it is, and able to travel between processes."""

import inspect
import pickle
import re
from typing import Any

import pytest

from prefect_videodb import errors
from prefect_videodb.client import Call, Job
from prefect_videodb.client.models import Export
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
