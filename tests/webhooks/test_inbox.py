"""Alerts are on the disk before anybody is told, and are one however often they come."""

import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.inbox import DeadLetter, Inbox, Letter
from prefect_videodb.webhooks.rules import Rules, digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "inbox.sqlite"


@pytest.fixture
def inbox(path: Path) -> Iterator[Inbox]:
    opened = Inbox(path)
    yield opened
    opened.close()


def letter(identity: str, route: str = "door", *, cooldown_s: float = 0.0, received_at: float | None = None) -> Letter:
    return Letter(identity, route, "alert", {"label": identity}, b"{}", cooldown_s, received_at or time.time())


def test_a_letter_that_comes_again_is_the_same_one(inbox: Inbox) -> None:
    assert inbox.put(letter("a")).result() is True
    assert inbox.put(letter("a")).result() is False
    assert [waiting.identity for waiting in inbox.waiting("door", 9)] == ["a"]


def test_letters_wait_in_the_order_of_arrival_until_they_are_done(inbox: Inbox) -> None:
    for put in [inbox.put(letter(str(number))) for number in range(50)]:
        put.result()
    first, *others = inbox.waiting("door", 100)
    assert [waiting.identity for waiting in [first, *others]] == [str(number) for number in range(50)]
    inbox.done([(first.seq, "run-1")]).result()
    assert inbox.waiting("door", 1) == others[:1]
    assert inbox.flow_run_of("0") == "run-1"
    assert inbox.put(letter("0")).result() is False  # what is done comes again: nothing starts
    assert inbox.backlog().waiting == 49


def test_another_process_sees_what_was_written(inbox: Inbox, path: Path) -> None:
    other = Inbox(path)
    try:
        before = other.version()
        inbox.put(letter("a")).result()
        assert other.version() != before
        assert other.routes() == ["door"]
    finally:
        other.close()


def test_within_the_cooldown_letters_are_attached_to_the_first(inbox: Inbox) -> None:
    now = time.time()
    for identity, after in (("a", 0), ("b", 5), ("c", 59), ("d", 61), ("e", 70), ("back", -100)):
        inbox.put(letter(identity, cooldown_s=60, received_at=now + after)).result()
    leaders = {waiting.identity: waiting.leader for waiting in inbox.waiting("door", 9)}
    # A clock that was set back begins anew; it must not attach everything until it has caught up.
    assert leaders == {"a": None, "b": "a", "c": "a", "d": None, "e": "d", "back": None}


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


def test_dead_letters_are_shown_and_removed_by_a_command(inbox: Inbox, path: Path) -> None:
    for number in range(2):
        inbox.put(DeadLetter("door", "of no known shape", b'{"n": %d}\x1b[2J' % number)).result()
    inbox.put(letter("a")).result()
    inbox.in_trouble(inbox.waiting("door", 1)[0].seq, "no deployment").result()
    shown = run_letters(path)
    assert "1 waiting since" in shown.stdout
    assert "no deployment" in shown.stdout
    assert '{"n": 1}' in shown.stdout
    assert "\x1b" not in shown.stdout
    assert run_letters(path, "--remove", "1").returncode == 0
    assert [number for number, _ in inbox.dead_letters()] == [2]
    assert "no dead letter 1" in run_letters(path, "--remove", "1").stderr
    assert "no inbox" in run_letters(path.with_name("none")).stderr


def run_letters(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "prefect_videodb.webhooks.letters", "--inbox", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_is_done_is_forgotten_in_the_end_and_what_waits_never(inbox: Inbox) -> None:
    inbox.put(letter("done")).result()
    inbox.put(letter("waits")).result()
    inbox.done([(inbox.waiting("door", 1)[0].seq, "run")]).result()
    inbox.forget(time.time() + 1).result()
    assert [waiting.identity for waiting in inbox.waiting("door", 9)] == ["waits"]
    assert inbox.put(letter("done")).result() is True


def test_trouble_and_dead_letters_are_counted(inbox: Inbox) -> None:
    inbox.put(DeadLetter("door", "unknown", b"{}")).result()
    inbox.put(letter("a")).result()
    inbox.in_trouble(inbox.waiting("door", 1)[0].seq, "no deployment").result()
    backlog = inbox.backlog()
    assert (backlog.waiting, backlog.dead_letters, backlog.troubles) == (1, 1, ["no deployment"])


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
