"""A letter as a message of an SQS queue, and back. Pure.

The body is what was posted, as it came; what else is known of it stands beside it, in message attributes. So a front
end that puts a request into the queue as it is writes the same messages, with the token in place of what was verified:

| attribute | who writes it | what it is |
| --- | --- | --- |
| `token` | a front end | the token of the address: it is verified when the message is taken |
| `flow_run_id` | both, where there is one | the run that asked for the alert |
| `received_at` | the receiver | unix seconds; elsewhere it is the moment at which SQS took the message |
| `identity`, `kind` | the receiver | what makes the letter one and the same, and of what kind it is |
| `encoding` | the receiver, where it must | how the body is written: `base64`, or `told` (it never had a body) |
| `route`, `reason` | the dispatcher | of a dead letter: where it came in, and what is wrong with it |
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prefect_videodb.webhooks.decode import Unreadable, decode
from prefect_videodb.webhooks.mail import DeadLetter, Letter, Waiting
from prefect_videodb.webhooks.receiver import ROUTE, RUN, kept, without_token
from prefect_videodb.webhooks.rules import SHORTEST_TOKEN, Rules

# What a body may hold: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_TAKEN = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_LONGEST_REASON = 500
# In unix seconds, the year 5138: what lies behind it is no moment, and no calendar shows it.
_LAST_MOMENT = 1e11
Entry = dict[str, Any]


def entry_of(letter: Letter | DeadLetter) -> Entry:
    """Make the message of a letter, as SendMessageBatch takes it, without its `Id`."""
    if isinstance(letter, DeadLetter):
        return dead_entry(letter, letter.digest)
    body, encoding = _written(letter.body) if letter.body else (json.dumps(letter.told), "told")
    return {
        "MessageBody": body,
        "MessageGroupId": letter.route,
        "MessageDeduplicationId": letter.identity,
        "MessageAttributes": _attributes(
            identity=letter.identity,
            kind=letter.kind,
            received_at=repr(letter.received_at),
            flow_run_id=letter.told.get("flow_run_id"),
            encoding=encoding,
        ),
    }


def dead_entry(letter: DeadLetter, once: str) -> Entry:
    """Make the message of a dead letter; repeated with the same `once` it is the same message."""
    body, encoding = _written(letter.body)
    return {
        "MessageBody": body,
        # Each is a group of its own: else those that one look has in hand would hide the others of a route.
        "MessageGroupId": once,
        "MessageDeduplicationId": once,
        "MessageAttributes": _attributes(
            route=letter.route[:_LONGEST_REASON],
            reason=letter.reason[:_LONGEST_REASON],
            received_at=repr(letter.received_at),
            encoding=encoding,
        ),
    }


def size_of(entry: Entry) -> int:
    """Give how long a message is, as SQS counts: its body, and the names, types and values of its attributes."""
    attributes: Mapping[str, Mapping[str, str]] = entry["MessageAttributes"]
    beside = sum(
        len(text.encode())
        for name, value in attributes.items()
        for text in (name, value["DataType"], value["StringValue"])
    )
    return len(entry["MessageBody"].encode()) + beside


def read(message: Mapping[str, Any], rules: Rules) -> Waiting | DeadLetter:
    """Read a message as SQS gives it; gives a dead letter for what no run can be made of."""
    system: Mapping[str, str] = message["Attributes"]
    beside = _beside(message)
    route = system["MessageGroupId"]
    # A front end verifies nothing: what it names beside the token does not count.
    is_ours = "token" not in beside and "identity" in beside
    received_at = _moment(beside.get("received_at") if is_ours else None, system)
    body = body_of(message)

    def dead(reason: str) -> DeadLetter:
        return DeadLetter(route, reason, body, received_at)

    if not is_ours and not rules.admits(beside.get("token", "")):
        return dead("its token is not valid")
    if not ROUTE.fullmatch(route):
        return dead("its group is no name of a route")
    try:
        letter = _letter(beside, route, body, is_ours=is_ours)
    except Unreadable as error:
        return dead(str(error))
    if isinstance(letter, DeadLetter):
        return dead(letter.reason)
    return Waiting(
        seq=int(system["SequenceNumber"]),
        identity=beside["identity"] if is_ours else letter.identity,
        route=route,
        kind=letter.kind,
        told=letter.told,
        received_at=received_at,
        leader=None,
    )


def read_dead(message: Mapping[str, Any]) -> DeadLetter:
    """Read a message of the queue of dead letters, whoever put it there."""
    system: Mapping[str, str] = message["Attributes"]
    beside = _beside(message)
    return DeadLetter(
        beside.get("route") or system.get("MessageGroupId", ""),
        beside.get("reason", "moved here by SQS"),
        body_of(message),
        _moment(beside.get("received_at"), system),
    )


def body_of(message: Mapping[str, Any]) -> bytes:
    """Give what was posted, as it came, but for the token of the address where it occurs there, too."""
    written: str = message["Body"]
    beside = _beside(message)
    body = written.encode()
    if beside.get("encoding") == "base64":
        with suppress(binascii.Error, ValueError):
            body = base64.b64decode(written, validate=True)
    token = beside.get("token", "")
    # What is shorter was never a token, and may well be a word of the body.
    return without_token(body, token) if len(token) >= SHORTEST_TOKEN else body


def _letter(beside: Mapping[str, str], route: str, body: bytes, *, is_ours: bool) -> Letter | DeadLetter:
    if is_ours and beside.get("encoding") == "told":
        told = _object(body)
        return Letter(beside["identity"], route, beside.get("kind", "alert"), told, b"")
    known = decode(body)
    run = beside.get("flow_run_id")
    known.flow_run_id = run if run and RUN.fullmatch(run) else None
    return kept(known, route, body)


def _object(body: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        told = json.loads(body)
        if isinstance(told, dict):
            return told
    raise Unreadable("what it holds cannot be read")


def _written(body: bytes) -> tuple[str, str | None]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = ""
    return (text, None) if _TAKEN.fullmatch(text) else (base64.b64encode(body).decode(), "base64")


def _attributes(**beside: str | None) -> dict[str, dict[str, str]]:
    return {name: {"DataType": "String", "StringValue": value} for name, value in beside.items() if value}


def _beside(message: Mapping[str, Any]) -> dict[str, str]:
    attributes: Mapping[str, Mapping[str, Any]] = message.get("MessageAttributes") or {}
    return {name: str(value.get("StringValue", "")) for name, value in attributes.items()}


def _moment(told: str | None, system: Mapping[str, str]) -> float:
    """Give the moment that is told, in unix seconds; the one at which SQS took the message, where none is."""
    with suppress(ValueError):
        if told and 0 < (moment := float(told)) < _LAST_MOMENT:
            return moment
    return int(system["SentTimestamp"]) / 1000
