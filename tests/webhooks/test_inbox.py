"""What the inbox in a file does beyond what every inbox does: it remembers, and attaches within a cooldown."""

import json
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.rules import Rules, digest
from tests.webhooks.test_mailbox import letter

EARLIER = """
CREATE TABLE letters (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE, route TEXT NOT NULL, kind TEXT NOT NULL,
    told TEXT NOT NULL, body BLOB NOT NULL, received_at REAL NOT NULL, copies INTEGER NOT NULL DEFAULT 1,
    leader TEXT, flow_run_id TEXT, done_at REAL, trouble TEXT, refusals INTEGER NOT NULL DEFAULT 0,
    try_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX waiting ON letters (route, seq) WHERE done_at IS NULL;
CREATE TABLE told (seq INTEGER PRIMARY KEY, at REAL NOT NULL, times INTEGER NOT NULL DEFAULT 1);
"""


def make_due(path: Path) -> None:
    """Let rejected messages be due now."""
    with closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as database:
        database.execute("UPDATE letters SET try_at = 0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "inbox.sqlite"


@pytest.fixture
def inbox(path: Path) -> Iterator[Inbox]:
    opened = Inbox(path)
    yield opened
    opened.close()


def test_within_the_cooldown_letters_are_attached_to_the_first(inbox: Inbox) -> None:
    now = time.time()
    for identity, after in (("a", 0), ("b", 5), ("c", 59), ("d", 61), ("e", 70), ("back", -100)):
        inbox.put(letter(identity, cooldown_s=60, received_at=now + after)).result()
    leaders = {waiting.identity: waiting.leader for waiting in inbox.waiting("door", 9)}
    # A clock that was set back begins anew; it must not attach everything until it has caught up.
    assert leaders == {"a": None, "b": "a", "c": "a", "d": None, "e": "d", "back": None}


def test_a_letter_that_another_receiver_took_a_moment_before_and_wrote_later_is_attached_too(inbox: Inbox) -> None:
    now = time.time()
    inbox.put(letter("a", cooldown_s=60, received_at=now)).result()
    inbox.put(letter("b", cooldown_s=60, received_at=now - 0.005)).result()
    assert [waiting.leader for waiting in inbox.waiting("door", 9)] == [None, "a"]


def test_a_refused_letter_rests_and_the_next_takes_its_place_in_the_cooldown(inbox: Inbox) -> None:
    now = time.time()
    for identity in ("a", "b", "c"):
        inbox.put(letter(identity, cooldown_s=60, received_at=now)).result()
    inbox.refused(inbox.waiting("door", 1)[0].seq, "does not fit").result()
    inbox.put(letter("d", cooldown_s=60, received_at=now + 1)).result()
    # "a" rests; should it be taken later, it belongs to the run of "b", as all others do.
    assert {waiting.identity: waiting.leader for waiting in inbox.waiting("door", 9)} == {"b": None, "c": "b", "d": "b"}
    assert inbox.backlog().waiting == 4
    for _ in range(3):
        inbox.refused(inbox.waiting("door", 1)[0].seq, "does not fit").result()
    assert inbox.routes(["door"]) == []
    inbox.put(letter("e", cooldown_s=60, received_at=now + 2)).result()
    assert [(waiting.identity, waiting.leader) for waiting in inbox.waiting("door", 9)] == [("e", None)]


def test_what_is_done_is_remembered_with_its_run(inbox: Inbox) -> None:
    assert inbox.put(letter("a")).result() is True
    assert inbox.put(letter("a")).result() is False
    inbox.done([(inbox.waiting("door", 1)[0].seq, "run-1")]).result()
    assert inbox.flow_run_of("a") == "run-1"
    assert inbox.put(letter("a")).result() is False  # what is done comes again: nothing starts


def test_inbox_of_an_earlier_version_is_read(path: Path) -> None:
    """Its table `told` and its index `waiting` are of no use any more, and do no harm."""
    path.parent.mkdir()
    earlier = sqlite3.connect(path, isolation_level=None)
    earlier.executescript(EARLIER)
    values = ("a", "door", "alert", '{"label": "a"}', b"{}", 1.0)
    earlier.execute("INSERT INTO letters (identity, route, kind, told, body, received_at) VALUES (?,?,?,?,?,?)", values)
    earlier.execute("INSERT INTO told (seq, at) VALUES (1, 1.0)")
    earlier.close()
    with closing(Inbox(path)) as inbox:
        [waiting] = inbox.waiting("door", 9)
        assert (waiting.identity, waiting.told) == ("a", {"label": "a"})
        inbox.done([(waiting.seq, "run")]).result()
        assert inbox.backlog().waiting == 0


def test_rejected_messages_do_not_go_before_new_ones(inbox: Inbox, path: Path) -> None:
    for identity in ("a", "b", "c"):
        inbox.put(letter(identity)).result()
    inbox.refused(inbox.waiting("door", 1)[0].seq, "does not fit").result()
    assert inbox.rejected(9) == []  # it rests
    make_due(path)
    assert [one.identity for one in inbox.waiting("door", 9)] == ["b", "c"]
    assert [one.identity for one in inbox.rejected(9)] == ["a"]


def test_given_up_message_is_a_dead_letter(inbox: Inbox) -> None:
    """Also one that came over the WebSocket, which has no body: it can be read again."""
    inbox.put(letter("a")).result()
    inbox.give_up(inbox.waiting("door", 1)[0].seq, "no deployment").result()
    [(_, dead)] = inbox.dead_letters()
    assert (dead.route, dead.reason, json.loads(dead.body)) == ("door", "no deployment", {"label": "a"})
    assert inbox.backlog().waiting == 0
    assert inbox.put(letter("a")).result() is True


@pytest.mark.parametrize("how", ["dropped", "given up", "refused, then given up"])
def test_cooldown_survives_its_first_message(inbox: Inbox, path: Path, how: str) -> None:
    """What comes next must not wait for the run of a message that is gone."""
    inbox.put(letter("a", cooldown_s=3600)).result()
    [first] = inbox.waiting("door", 1)
    if how == "dropped":
        assert inbox.drop("door").result() == 1
    elif how == "given up":
        inbox.put(letter("attached", cooldown_s=3600)).result()
        inbox.give_up(first.seq, "no deployment").result()
        assert [(one.identity, one.leader) for one in inbox.waiting("door", 9)] == [("attached", None)]
        return
    else:
        inbox.refused(first.seq, "does not fit").result()
        make_due(path)
        inbox.give_up(inbox.rejected(1)[0].seq, "does not fit").result()
    inbox.put(letter("b", cooldown_s=3600)).result()
    assert [(one.identity, one.leader) for one in inbox.waiting("door", 9)] == [("b", None)]


def test_routes_without_a_deployment_are_listed_page_by_page(inbox: Inbox) -> None:
    for number in range(5):
        for copy in range(3):
            inbox.put(letter(f"{number}-{copy}", f"route-{number}")).result()
    first = inbox.unserved(["route-1"], 2)
    assert [(one.route, one.identity) for one in first] == [("route-0", "0-0"), ("route-2", "2-0")]
    assert [one.route for one in inbox.unserved(["route-1"], 9, first[-1].route)] == ["route-3", "route-4"]


def test_drop_deletes_one_route_only(inbox: Inbox) -> None:
    for route in ("door", "window"):
        for number in range(3):
            inbox.put(letter(f"{route}-{number}", route)).result()
    assert inbox.drop("door").result() == 3
    assert inbox.routes(["door", "window"]) == ["window"]


def test_what_is_done_is_forgotten_in_the_end_and_what_waits_never(inbox: Inbox) -> None:
    inbox.put(letter("done")).result()
    inbox.put(letter("waits")).result()
    inbox.done([(inbox.waiting("door", 1)[0].seq, "run")]).result()
    inbox.forget(time.time() + 1).result()
    assert [waiting.identity for waiting in inbox.waiting("door", 9)] == ["waits"]
    assert inbox.put(letter("done")).result() is True


def test_only_its_owner_reads_it_and_no_token_is_in_it(inbox: Inbox, path: Path) -> None:
    inbox.keep_rules(Rules(token_digests=[digest("tok-0123456789")]))
    rules = inbox.rules()
    assert rules is not None
    assert rules.admits("tok-0123456789")
    assert not rules.admits("tok-012345678")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0
        assert b"tok-0123456789" not in file.read_bytes()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Inbox(tmp_path / "file" / "inbox.sqlite")
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Inbox(tmp_path / "text")
