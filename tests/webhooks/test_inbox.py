"""What the inbox in a file does beyond what every inbox does: it remembers, and attaches within a cooldown."""

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.rules import Rules, digest
from tests.webhooks.test_mailbox import letter


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
    assert inbox.routes() == []
    inbox.put(letter("e", cooldown_s=60, received_at=now + 2)).result()
    assert [(waiting.identity, waiting.leader) for waiting in inbox.waiting("door", 9)] == [("e", None)]


def test_what_is_done_is_remembered_with_its_run(inbox: Inbox) -> None:
    assert inbox.put(letter("a")).result() is True
    assert inbox.put(letter("a")).result() is False
    inbox.done([(inbox.waiting("door", 1)[0].seq, "run-1")]).result()
    assert inbox.flow_run_of("a") == "run-1"
    assert inbox.put(letter("a")).result() is False  # what is done comes again: nothing starts


def test_what_prefect_was_told_of_is_looked_for_until_it_is_written(inbox: Inbox) -> None:
    for identity in ("a", "b"):
        inbox.put(letter(identity)).result()
    first, second = inbox.waiting("door", 9)
    inbox.done([(first.seq, "run-1"), (second.seq, "run-1")]).result()
    assert inbox.told(time.time() - 1, 9) == []  # it may still be written
    soon = time.time() + 1
    assert [(one.letter, one.flow_run_id, one.times) for one in inbox.told(soon, 9)] == [
        (first, "run-1", 1),
        (second, "run-1", 1),
    ]
    inbox.written([first.seq]).result()
    inbox.told_again(second.seq).result()
    assert [(one.letter.identity, one.times) for one in inbox.told(soon, 9)] == [("b", 2)]
    inbox.forget(time.time() + 1).result()
    assert inbox.told(soon, 9) == []


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
