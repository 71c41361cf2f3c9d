"""The inbox in a queue: what is written into it, what a front end may put there, what SQS does not take."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.decode import decode
from prefect_videodb.webhooks.mail import Away, DeadLetter, DeadLettersFull, Letter, TooLong, Waiting
from prefect_videodb.webhooks.message import dead_entry, entry_of, read, read_dead, size_of
from prefect_videodb.webhooks.receiver import letter_of
from prefect_videodb.webhooks.rules import Rules, digest
from prefect_videodb.webhooks.sqs import SqsInbox
from tests.support.processes import wait_for
from tests.webhooks.conftest import OLD_TOKEN, RECORDED, TOKEN, Queues, firing
from tests.webhooks.test_mailbox import RULES, letter, run_letters, waiting
from tests.webhooks.test_page import PAGE

RUN = "0197d6a0-0fde-7911-b282-25bc0b4ecf65"


@pytest.fixture
def inbox(queues: Queues) -> Iterator[SqsInbox]:
    with closing(SqsInbox(queues.url, queues.dead)) as opened:
        opened.keep_rules(RULES)
        yield opened


def as_received(entry: dict[str, Any]) -> dict[str, Any]:
    """Give a message as SQS gives it."""
    system = {"SequenceNumber": "7", "SentTimestamp": "1748475396000", "MessageGroupId": entry["MessageGroupId"]}
    beside = entry["MessageAttributes"]
    return {"Body": entry["MessageBody"], "MessageAttributes": beside, "Attributes": system, "MessageId": "m"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_an_alert_comes_out_as_it_was_put_in_however_it_is_written(encoding: str) -> None:
    body = json.dumps(RECORDED | {"explanation": "Tür \uffff offen 🚪"}, ensure_ascii=False).encode(encoding)
    told = decode(body)
    told.flow_run_id = RUN
    put = letter_of(told, "door", body)
    got = read(as_received(entry_of(put)), RULES)
    assert isinstance(got, Waiting)
    assert (got.identity, got.route, got.kind, got.told) == (put.identity, put.route, put.kind, put.told)
    assert got.told["flow_run_id"] == RUN
    assert got.received_at == put.received_at


@given(st.binary(min_size=1, max_size=300), st.text(st.characters(codec="utf-8"), max_size=50))
def test_a_dead_letter_comes_out_as_it_was_put_in(body: bytes, reason: str) -> None:
    put = DeadLetter("door", reason or "-", body)
    entry = dead_entry(put, "once")
    assert read_dead(as_received(entry)) == put
    assert size_of(entry) > len(body)


@given(
    st.text(min_size=1, max_size=200) | st.just(json.dumps(RECORDED)),
    st.dictionaries(
        st.sampled_from(["token", "identity", "kind", "encoding", "received_at", "flow_run_id", "route"]),
        st.text(max_size=30) | st.sampled_from([TOKEN, "base64", "told", "nan", "1e400", RUN]),
    ),
    st.sampled_from(["door", "", "x" * 128, "a/b"]),
)
def test_without_a_token_or_identity_nothing_is_made_of_a_message(
    body: str, beside: dict[str, str], group: str
) -> None:
    attributes = {name: {"DataType": "String", "StringValue": text} for name, text in beside.items()}
    message = as_received({"MessageBody": body, "MessageGroupId": group, "MessageAttributes": attributes})
    is_admitted = beside.get("token") == TOKEN if "token" in beside else "identity" in beside
    assert isinstance(read(message, RULES), DeadLetter) or is_admitted


def from_front_end(queues: Queues, body: str, group: str = "door", **beside: str) -> None:
    """Put a request into the queue as it is."""
    queues.sqs.send_message(
        QueueUrl=queues.url,
        MessageBody=body,
        MessageGroupId=group,
        MessageDeduplicationId=str(time.monotonic_ns()),
        MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in beside.items()},
    )


def test_what_a_front_end_puts_there_with_a_valid_token_is_the_same_alert(inbox: SqsInbox, queues: Queues) -> None:
    body = json.dumps(RECORDED).encode()
    for token in (TOKEN, OLD_TOKEN):
        inbox.keep_rules(Rules(token_digests=[digest(TOKEN), digest(OLD_TOKEN)]))
        from_front_end(queues, body.decode(), token=token, flow_run_id=RUN)
    inbox.put(letter_of(decode(body), "door", body)).result()
    letters = waiting(inbox, "door", 3)
    assert len({one.identity for one in letters}) == 1
    assert letters[0].told["flow_run_id"] == RUN
    assert TOKEN not in repr(letters)
    assert abs(letters[0].received_at - time.time()) < 3600


def test_the_mapping_that_the_page_shows_makes_such_a_message(inbox: SqsInbox, queues: Queues) -> None:
    """The page's template is filled in as API Gateway does it, and sent as it does."""
    body = json.dumps(RECORDED | {"explanation": "100 % sure & more + ##"})
    params = {"route": "door", "token": TOKEN, "run": RUN}
    [template] = re.findall(r"```\n(Action=SendMessage##.*?)\n```", PAGE, re.DOTALL)
    form = template.replace("##\n", "").replace("$context.requestId", "r-1")
    form = form.replace("$util.urlEncode($input.body)", quote(body, safe=""))
    form = re.sub(r"\$util\.urlEncode\(\$input\.params\('(\w+)'\)\)", lambda name: quote(params[name[1]]), form)
    assert "$" not in form
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert httpx.post(queues.url, content=form, headers=kind).is_success
    [got] = waiting(inbox, "door", 1)
    assert got.told["explanation"] == "100 % sure & more + ##"
    assert got.told["flow_run_id"] == RUN


@pytest.mark.parametrize(
    ("posted", "reason"),
    [
        ((json.dumps(RECORDED), "door", {"token": "guessed-token-0123456789"}), "token is not valid"),
        ((json.dumps(RECORDED), "door", {}), "token is not valid"),
        # What only the receiver writes does not stand in for a token.
        ((json.dumps(RECORDED), "door", {"token": "x", "identity": "a", "kind": "alert"}), "token is not valid"),
        ((json.dumps(RECORDED), "a/b", {"token": TOKEN}), "no name of a route"),
        (("no JSON", "door", {"token": TOKEN}), "no JSON"),
        (('{"hello": "world"}', "door", {"token": TOKEN}), "neither like an alert"),
        (("no JSON", "door", {"identity": "a", "encoding": "told"}), "cannot be read"),
    ],
)
def test_what_no_run_can_be_made_of_is_a_dead_letter_with_its_reason_and_without_its_token(
    inbox: SqsInbox, queues: Queues, posted: tuple[str, str, dict[str, str]], reason: str
) -> None:
    body, group, beside = posted
    from_front_end(queues, body, group, **beside)
    from_front_end(queues, json.dumps(firing(1)), token=TOKEN)
    waiting(inbox, "door", 1)  # the next one is not held up
    wait_for("it is kept", lambda: inbox.backlog().dead_letters == 1)
    [(_, dead)] = inbox.dead_letters()
    assert reason in dead.reason
    assert (dead.route, dead.body) == (group, body.encode())
    found = queues.sqs.receive_message(QueueUrl=queues.dead, MessageAttributeNames=["All"], WaitTimeSeconds=5)
    assert "token" not in found["Messages"][0].get("MessageAttributes", {})


def test_a_dead_letter_that_is_too_long_with_its_reason_is_cut_off_and_holds_up_no_other(
    inbox: SqsInbox, queues: Queues
) -> None:
    from_front_end(queues, "x" * (1_048_576 - 40), token="y")
    from_front_end(queues, json.dumps(RECORDED), token=TOKEN)
    waiting(inbox, "door", 1)
    wait_for("it is kept", inbox.dead_letters)
    assert "(cut off)" in inbox.dead_letters()[0][1].reason


def test_what_was_refused_a_moment_ago_comes_out_again_when_it_is_given_back(inbox: SqsInbox, queues: Queues) -> None:
    """SQS drops what it had within five minutes."""
    put = letter_of(decode(json.dumps(RECORDED).encode()), "door", json.dumps(RECORDED).encode())
    inbox.put(put).result()
    inbox.refused(waiting(inbox, "door", 1)[0].seq, "does not fit").result()
    [(number, dead)] = inbox.dead_letters()
    assert dead.reason == "does not fit"
    assert run_letters(*queues.options(), "--retry", str(number)).returncode == 0
    [again] = waiting(inbox, "door", 1)
    assert again.identity == put.identity
    assert inbox.dead_letters() == []


def test_what_a_front_end_was_told_of_the_token_is_blotted_out(inbox: SqsInbox, queues: Queues) -> None:
    address = f"https://hooks.example/videodb/door/{TOKEN}"
    from_front_end(queues, json.dumps(RECORDED | {"callback_url": address}), token=TOKEN)
    from_front_end(queues, json.dumps({"callback_url": address}), token=TOKEN)
    [got] = waiting(inbox, "door", 1)
    assert got.told["callback_url"] == "https://hooks.example/videodb/door/***"
    inbox.refused(got.seq, "does not fit").result()
    wait_for("both are kept", lambda: inbox.backlog().dead_letters == 2)
    kept = inbox.dead_letters()
    assert len(kept) == 2
    assert TOKEN not in repr(kept)


def test_what_never_fits_is_told_apart_from_what_cannot_be_kept_now(inbox: SqsInbox, queues: Queues) -> None:
    with pytest.raises(TooLong, match="longer than 1048576 bytes"):
        inbox.put(DeadLetter("door", "unknown", b"\x00" * 1_000_000)).result()
    queues.sqs.set_queue_attributes(QueueUrl=queues.url, Attributes={"MaximumMessageSize": "2048"})
    puts = [inbox.put(letter("small")), inbox.put(letter("long" * 1000)), inbox.put(letter("as-small"))]
    refused = [put.exception() for put in puts]
    assert isinstance(refused[1], Away)  # now it is too long for the queue, and that was not so at the start
    with closing(SqsInbox(queues.url, queues.dead)) as anew, pytest.raises(TooLong):
        anew.put(letter("long" * 1000)).result()


def test_many_at_the_same_time_are_all_there(inbox: SqsInbox) -> None:
    long = "é" * 100_000
    letters = [
        Letter(str(n), "door", "alert", {"n": n}, f'{{"label": "{long}", "start": {n}}}'.encode()) for n in range(30)
    ]
    assert [put.result() for put in [inbox.put(one) for one in letters]] == [None] * 30
    wait_for("all are there", lambda: inbox.backlog().waiting == 30)


def test_a_queue_that_is_gone_says_so(inbox: SqsInbox, queues: Queues) -> None:
    queues.sqs.delete_queue(QueueUrl=queues.url)
    with pytest.raises(Away, match=r"QueueDoesNotExist|NonExistentQueue"):
        inbox.put(letter("a")).result()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        SqsInbox(queues.url, queues.dead)


def test_a_server_that_is_away_says_so(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="EndpointConnectionError"):
        SqsInbox(queues.url, queues.dead)


def test_a_queue_that_keeps_no_order_is_refused(queues: Queues) -> None:
    unordered = queues.sqs.create_queue(QueueName="unordered")["QueueUrl"]
    with pytest.raises(ConfigurationError, match="no FIFO queue"):
        SqsInbox(unordered, queues.dead)
    queues.sqs.delete_queue(QueueUrl=unordered)


def test_idempotency_across_precisions(inbox: SqsInbox) -> None:
    """SQS compares what it is given; the process that takes the messages remembers which firing each was of."""
    exact = {"start_time": "2025-05-28T23:36:36.399600Z", "end_time": "2025-05-28T23:36:46.399600Z"}
    cut = {"start_time": "2025-05-28T23:36:36.399Z", "end_time": "2025-05-28T23:36:46.399Z"}
    following = {"start_time": "2025-05-28T23:36:46.399600Z", "end_time": "2025-05-28T23:36:56.399600Z"}
    for times in (exact, cut, following):
        body = json.dumps(RECORDED | times).encode()
        inbox.put(letter_of(decode(body), "door", body)).result()
    first, again, other = waiting(inbox, "door", 3)
    assert first.identity == again.identity
    assert other.identity != first.identity


def test_dead_letter_bound(inbox: SqsInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as SQS counts, which it does not do at once."""
    monkeypatch.setattr("prefect_videodb.webhooks.dead_queue.MOST_DEAD_LETTERS", 3)
    puts = [inbox.put(DeadLetter("door", "unknown", b"%d" % number)) for number in range(5)]
    assert sum(isinstance(put.exception(), DeadLettersFull) for put in puts) == 2
    inbox.put(letter("a")).result()
