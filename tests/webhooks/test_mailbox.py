"""What every inbox does, in a file and in a queue: alerts are kept before anybody is told, and come out in order."""

import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from prefect_videodb.webhooks.alert import Alert, identity
from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.mail import DeadLetter, Letter, Mailbox, Waiting
from prefect_videodb.webhooks.rules import Rules, digest
from prefect_videodb.webhooks.sqs import SqsInbox
from tests.support.processes import wait_for
from tests.webhooks.conftest import RECORDED, TOKEN, Queues, firing

RULES = Rules(token_digests=[digest(TOKEN)])


@dataclass
class Place:
    """Where an inbox is, and how a command is told."""

    open: Callable[[], Mailbox]
    options: list[str]


@pytest.fixture(params=["file", "queue"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give a way to open one inbox several times, as several processes do."""
    with ExitStack() as opened:
        if request.param == "file":
            path = tmp_path / "inbox.sqlite"
            options = ["--inbox", str(path)]

            def mailbox() -> Mailbox:
                return Inbox(path)

        else:
            queues: Queues = request.getfixturevalue("queues")
            options = queues.options()

            def mailbox() -> Mailbox:
                return SqsInbox(queues.url, queues.dead)

        def opening() -> Mailbox:
            inbox = opened.enter_context(closing(mailbox()))
            inbox.keep_rules(RULES)
            return inbox

        yield Place(opening, options)


@pytest.fixture
def inbox(place: Place) -> Mailbox:
    return place.open()


def letter(identity: str, route: str = "door", *, cooldown_s: float = 0.0, received_at: float | None = None) -> Letter:
    return Letter(identity, route, "alert", {"label": identity}, b"", cooldown_s, received_at or time.time())


def waiting(inbox: Mailbox, route: str, count: int) -> list[Waiting]:
    """Wait until so many letters are there."""

    def are_there() -> bool:
        return bool(inbox.routes([route])) and len(inbox.waiting(route, count)) == count

    wait_for(f"{count} letters", are_there)
    return inbox.waiting(route, count)


def identities(letters: list[Waiting]) -> list[str]:
    return [one.identity for one in letters]


def test_a_letter_that_comes_again_is_the_same_one(inbox: Mailbox) -> None:
    assert inbox.put(letter("a")).result() is not False
    assert inbox.put(letter("a")).result() is not True
    inbox.put(letter("b")).result()
    assert identities(waiting(inbox, "door", 2)) == ["a", "b"]


def test_letters_wait_in_the_order_of_arrival_until_they_are_done(inbox: Mailbox) -> None:
    for put in [inbox.put(letter(str(number))) for number in range(50)]:
        put.result()
    found: list[str] = []
    while len(found) < 50:
        first = waiting(inbox, "door", 1)[0]
        assert inbox.waiting("door", 1) == [first]  # it may be asked for again
        inbox.done([(first.seq, "run")]).result()
        found.append(first.identity)
    assert found == [str(number) for number in range(50)]
    wait_for("nothing waits", lambda: inbox.backlog().waiting == 0)


def test_what_comes_out_is_what_was_put_in(inbox: Mailbox) -> None:
    put = letter("a", received_at=1_748_475_396.25)
    inbox.put(put).result()
    [got] = waiting(inbox, "door", 1)
    assert (got.identity, got.route, got.kind, got.told) == (put.identity, put.route, put.kind, put.told)
    assert got.received_at == put.received_at


def test_another_process_sees_what_was_written(place: Place, inbox: Mailbox) -> None:
    other = place.open()
    other.routes(["door"])
    before = other.version()
    inbox.put(letter("a")).result()
    wait_for("it is seen", lambda: other.version() != before)
    assert other.routes(["door", "other"]) == ["door"]


def test_what_a_process_had_in_hand_when_it_ended_is_given_to_another_in_order(place: Place) -> None:
    first = place.open()
    for number in range(5):
        first.put(letter(str(number))).result()
    letters = waiting(first, "door", 5)
    first.done([(letters[0].seq, "run")]).result()
    first.close()
    assert identities(waiting(place.open(), "door", 4)) == ["1", "2", "3", "4"]


def test_a_letter_in_trouble_comes_again_before_those_that_came_after_it(inbox: Mailbox) -> None:
    for number in range(4):
        inbox.put(letter(str(number))).result()
    first = waiting(inbox, "door", 4)[0]
    inbox.in_trouble(first.seq, "no deployment").result()
    assert inbox.backlog().troubles == ["no deployment"]
    assert identities(waiting(inbox, "door", 4)) == ["0", "1", "2", "3"]


def test_a_refused_letter_is_kept_and_holds_up_no_other(inbox: Mailbox) -> None:
    for number in range(3):
        inbox.put(letter(str(number))).result()
    inbox.refused(waiting(inbox, "door", 3)[0].seq, "does not fit").result()
    assert identities(waiting(inbox, "door", 2)) == ["1", "2"]
    wait_for("none is lost", lambda: inbox.backlog().waiting + inbox.backlog().dead_letters == 3)


def test_the_routes_do_not_wait_for_each_other(inbox: Mailbox) -> None:
    for number in range(3):
        inbox.put(letter(f"stuck-{number}", "stuck")).result()
    inbox.in_trouble(waiting(inbox, "stuck", 3)[0].seq, "no deployment").result()
    inbox.put(letter("a", "door")).result()
    assert identities(waiting(inbox, "door", 1)) == ["a"]


def test_trouble_and_dead_letters_are_counted(inbox: Mailbox) -> None:
    inbox.put(DeadLetter("door", "unknown", b"{}")).result()
    inbox.put(letter("a")).result()
    inbox.in_trouble(waiting(inbox, "door", 1)[0].seq, "no deployment").result()
    backlog = inbox.backlog()
    assert (backlog.waiting, backlog.dead_letters, backlog.troubles) == (1, 1, ["no deployment"])


def test_dead_letters_are_shown_and_removed_by_a_command(place: Place, inbox: Mailbox) -> None:
    for number in range(12):
        inbox.put(DeadLetter("door", "of no known shape", b'{"n": %d}\x1b[2J' % number)).result()
    inbox.put(letter("a")).result()
    shown = run_letters(*place.options)
    assert "1 waiting" in shown.stdout
    assert "12 dead letters" in shown.stdout
    assert shown.stdout.count("route door: of no known shape") == 12
    assert '{"n": 1}' in shown.stdout
    assert "\x1b" not in shown.stdout
    [number] = [number for number, dead in inbox.dead_letters() if dead.body.startswith(b'{"n": 1}')]
    assert run_letters(*place.options, "--remove", str(number)).returncode == 0
    assert f"no dead letter {number}" in run_letters(*place.options, "--remove", str(number)).stderr
    assert len(inbox.dead_letters()) == 11


def test_dead_letters_are_read_again_and_given_back_by_a_command(place: Place, inbox: Mailbox) -> None:
    body, unknown = json.dumps(RECORDED).encode(), b'{"hello": 1}'
    for route, dead in (("door", body), ("door", unknown), ("a/b", body)):
        inbox.put(DeadLetter(route, "not known then", dead)).result()
    numbers = {(dead.route, dead.body): str(number) for number, dead in inbox.dead_letters()}
    told = run_letters(*place.options, "--retry", *numbers.values(), "123456")
    assert told.returncode == 1
    assert f"{numbers['door', unknown]} is not given back: it looks neither like" in told.stderr
    assert f"{numbers['a/b', body]} is not given back: 'a/b' is no name" in told.stderr
    assert "123456 is not given back: there is no such" in told.stderr
    assert told.stderr.count("not given back") == 3
    [given_back] = waiting(inbox, "door", 1)
    assert given_back.identity == identity(Alert.model_validate(RECORDED), "door")
    assert given_back.told["label"] == "door_opened"
    assert {dead.route for _, dead in inbox.dead_letters()} == {"door", "a/b"}
    assert len(inbox.dead_letters()) == 2


def test_dead_letter_deduplication(place: Place, inbox: Mailbox) -> None:
    for number in range(6):
        inbox.put(DeadLetter("door", "of no known shape", b"%d" % (number % 2))).result()
    inbox.put(DeadLetter("window", "of no known shape", b"0")).result()
    assert {(dead.route, dead.body) for _, dead in inbox.dead_letters()} == {
        ("door", b"0"),
        ("door", b"1"),
        ("window", b"0"),
    }
    assert "3 dead letters" in run_letters(*place.options).stdout


def test_dead_letter_paging(place: Place, inbox: Mailbox) -> None:
    for number in range(25):
        inbox.put(DeadLetter("door", f"reason {number}", b"%d" % number)).result()
    shown: list[str] = []
    after = "0"
    while after:
        page = run_letters(*place.options, "--most", "10", "--after", after).stdout
        assert "25 dead letters" in page
        shown += re.findall(r"reason \d+", page)
        found = re.search(r"there are more: --after (\d+) ", page)
        after = found[1] if found else ""
    assert shown == [f"reason {number}" for number in range(25)]


def test_dead_letter_purge(place: Place, inbox: Mailbox) -> None:
    for number in range(25):
        inbox.put(DeadLetter("door", "of no known shape", b"%d" % number)).result()
    assert "25 dead letters are removed" in run_letters(*place.options, "--remove", "all").stdout
    assert inbox.dead_letters() == []


def test_dead_letter_redrive(place: Place, inbox: Mailbox) -> None:
    """All of them: an array is given back as the alerts that it holds, or not at all."""
    several = json.dumps([firing(1), firing(2)]).encode()
    mixed = json.dumps([firing(3), {"hello": 1}]).encode()
    for body in (several, mixed, gzip.compress(json.dumps(firing(4)).encode())):
        inbox.put(DeadLetter("door", "not known then", body)).result()
    told = run_letters(*place.options, "--retry", "all")
    assert told.returncode == 1
    assert told.stderr.count("not given back: it looks neither like") == 1
    assert len({one.identity for one in waiting(inbox, "door", 3)}) == 3
    assert [dead.body for _, dead in inbox.dead_letters()] == [mixed]


def test_a_dead_letter_that_is_gone_is_not_given_back(inbox: Mailbox) -> None:
    assert inbox.give_back(123456, [letter("a")]).result() is False
    inbox.put(letter("b")).result()
    assert identities(waiting(inbox, "door", 1)) == ["b"]


def test_drop_route_by_command(place: Place, inbox: Mailbox) -> None:
    inbox.put(letter("a", "door")).result()
    inbox.put(letter("b", "window")).result()
    dropped = run_letters(*place.options, "--drop-route", "door")
    if "--dead-letters" in place.options:  # SQS hands out what comes first, of whatever route
        assert dropped.returncode == 1
        assert "cannot be asked for route door alone" in dropped.stderr
        return
    assert dropped.returncode == 0
    assert "1 that waited for route 'door' are deleted" in dropped.stdout
    assert inbox.routes(["door", "window"]) == ["window"]


def test_rejected_and_given_up_messages_hold_up_nothing(inbox: Mailbox) -> None:
    for number in range(3):
        inbox.put(letter(str(number), "door")).result()
    inbox.put(letter("stray", "nobody")).result()
    first = waiting(inbox, "door", 3)[0]
    inbox.refused(first.seq, "does not fit").result()
    wait_for("it is seen", lambda: inbox.unserved(["door"], 9))
    [stray] = inbox.unserved(["door"], 9)
    assert stray.identity == "stray"
    inbox.give_up(stray.seq, "no deployment").result()
    assert inbox.unserved(["door"], 9) == []
    assert identities(waiting(inbox, "door", 2)) == ["1", "2"]
    assert "no deployment" in {dead.reason for _, dead in inbox.dead_letters()}


def test_an_inbox_that_is_not_there_is_named() -> None:
    assert "no inbox" in run_letters("--inbox", "none.sqlite").stderr
    assert "--dead-letters" in run_letters("--inbox", "https://sqs.example/1/none.fifo").stderr


def run_letters(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "prefect_videodb.webhooks.letters", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)
