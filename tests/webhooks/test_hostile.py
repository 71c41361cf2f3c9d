"""What is posted with a valid token and means harm, or echoes too much: nothing is filled in, nothing spread."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.webhooks.alert import Alert
from prefect_videodb.webhooks.decode import decode, storable
from prefect_videodb.webhooks.receiver import letter_of, without_token
from tests.support.processes import wait_for
from tests.webhooks.conftest import RECORDED, TOKEN, Service, events_of, firing, wait_for_runs
from tests.webhooks.test_mailbox import run_letters

JINJA = {"__prefect_kind": "jinja", "template": "{{ 40 + 2 }}"}
VARIABLE = {"__prefect_kind": "workspace_variable", "variable_name": "secret"}
BLOCK = {"$ref": {"block_document_slug": "secret/key"}}
KEYS = {"__prefect_kind", "$ref"}


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys_of(inner)}
    return {key for inner in value for key in keys_of(inner)} if isinstance(value, list) else set()


def test_what_means_something_to_prefect_gets_another_name_wherever_it_stands() -> None:
    told = storable({"a": [JINJA, {"b": VARIABLE}], **BLOCK, "$ref_": 1})
    assert told["a"][0] == {"__prefect_kind_": "jinja", "template": "{{ 40 + 2 }}"}
    assert told["$ref_"] == BLOCK["$ref"]
    assert told["$ref__"] == 1  # nothing takes the place of another
    assert not keys_of(told) & KEYS


@pytest.mark.parametrize("hostile", [JINJA, VARIABLE, BLOCK])
def test_no_alert_is_told_with_such_a_key(hostile: dict[str, Any]) -> None:
    body = json.dumps(RECORDED | hostile | {"explanation": hostile, "more": [hostile]}).encode()
    assert not keys_of(letter_of(decode(body), "door", body).told) & KEYS


def test_prefect_fills_in_nothing_that_was_posted(service: Service, deployed: str) -> None:
    assert service.post(firing(401, more=JINJA, other=[VARIABLE], block=BLOCK)).is_success
    [run] = wait_for_runs(deployed, 1)
    alert = run.parameters["alert"]
    assert alert["more"] == {"__prefect_kind_": "jinja", "template": "{{ 40 + 2 }}"}
    assert alert["other"][0]["variable_name"] == "secret"
    assert alert["block"] == {"$ref_": BLOCK["$ref"]}


def test_a_token_that_is_echoed_is_nowhere(service: Service, deployed: str, tmp_path: Any) -> None:
    assert service.post(firing(402, callback_url=service.url(), more={"url": [service.url()]})).is_success
    assert service.post({"callback_url": service.url()}).is_success
    [run] = wait_for_runs(deployed, 1)
    assert run.parameters["alert"]["callback_url"].endswith("/videodb/door/***")
    wait_for("the event is there", lambda: events_of(run))
    told = run.model_dump_json() + json.dumps(events_of(run))
    shown = run_letters("--inbox", str(tmp_path / "inbox.sqlite")).stdout
    assert "/videodb/door/***" in shown
    for text in (told, shown, service.log.read_text()):
        assert TOKEN not in text
    for file in tmp_path.glob("inbox.sqlite*"):
        assert TOKEN.encode() not in file.read_bytes()


@given(st.text(), st.text(), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_a_token_is_blotted_out_however_the_body_is_written(before: str, after: str, encoding: str) -> None:
    body = json.dumps(RECORDED | {"explanation": before + TOKEN + after}, ensure_ascii=True).encode(encoding)
    alert = decode(without_token(body, TOKEN))
    assert isinstance(alert, Alert)
    assert alert.explanation == before + "***" + after
