"""What the inbox in a file does beyond what every inbox does: it remembers, and attaches within a cooldown."""

import json
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.alert import Alert
from prefect_videodb.webhooks.inbox import Inbox
from prefect_videodb.webhooks.mail import MOST_DEAD_BYTES, MOST_DEAD_LETTERS, DeadLetter, DeadLettersFull, Lost
from prefect_videodb.webhooks.receiver import letter_of
from prefect_videodb.webhooks.rules import Rules, digest
from tests.webhooks.conftest import RECORDED
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


# --- the file goes away -----------------------------------------------------------------------------------------------


def moved(path: Path) -> None:
    path.rename(path.with_name("moved.sqlite"))


def removed(path: Path) -> None:
    path.unlink()


def restored(path: Path) -> None:
    copy = path.with_name("backup.sqlite")
    with closing(Inbox(copy)):
        pass
    copy.replace(path)


def directory_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def directory_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def wal_removed(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def shm_removed(path: Path) -> None:
    Path(f"{path}-shm").unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def link_turned(path: Path) -> None:
    """The path was no link before; who mounts another volume over it does the same."""
    path.rename(path.with_name("old.sqlite"))
    (path.parent / "other.sqlite").touch()
    path.symlink_to("other.sqlite")


WAYS = [moved, removed, restored, directory_removed, directory_moved, wal_removed, shm_removed, emptied, link_turned]


@pytest.mark.parametrize("goes", WAYS)
def test_unlinked_file_is_noticed_before_the_answer(inbox: Inbox, path: Path, goes: Callable[[Path], None]) -> None:
    assert inbox.put(letter("a")).result() is True
    goes(path)
    for identity in ("b", "c"):
        with pytest.raises(Lost, match=f"the inbox {path}.* was moved, removed or replaced"):
            inbox.put(letter(identity)).result()
    with pytest.raises(Lost):
        inbox.lost.result(5)


def test_unlinked_file_is_noticed_while_nothing_comes(inbox: Inbox, path: Path) -> None:
    inbox.put(letter("a")).result()
    removed(path)
    with pytest.raises(Lost):
        inbox.lost.result(30)


def test_moved_file_holds_all_that_was_answered(path: Path) -> None:
    """What was answered may stand beside the file, in SQLite's log: that is written into the file that was moved."""
    with closing(Inbox(path)) as inbox:
        for number in range(50):
            inbox.put(letter(str(number))).result()
        moved(path)
        with pytest.raises(Lost):
            inbox.lost.result(30)
    with closing(Inbox(path.with_name("moved.sqlite"))) as found:
        assert len(found.waiting("door", 99)) == 50


def test_linked_file(path: Path) -> None:
    real = path.with_name("real.sqlite")
    path.parent.mkdir()
    path.symlink_to(real)
    with closing(Inbox(path)) as inbox:
        assert inbox.put(letter("a")).result() is True
        assert real.exists()
        real.rename(path.with_name("gone.sqlite"))
        with pytest.raises(Lost):
            inbox.put(letter("b")).result()


def test_two_processes_share_a_file_and_checkpoints_lose_nothing(inbox: Inbox, path: Path) -> None:
    """What SQLite does to its files while both are open is no loss."""
    with closing(Inbox(path)) as other:
        for number in range(20):
            (inbox if number % 2 else other).put(letter(str(number))).result()
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert other.put(letter("b")).result() is True
    assert inbox.put(letter("c")).result() is True
    assert inbox.put(letter("b")).result() is False


# --- dead letters -----------------------------------------------------------------------------------------------------


def dead(number: int, body: bytes = b"") -> DeadLetter:
    return DeadLetter("door", "unknown", body or b"%d" % number)


def test_dead_letter_deduplication(inbox: Inbox) -> None:
    assert [inbox.put(dead(n % 2)).result() for n in range(6)] == [True, True, False, False, False, False]
    assert [(one.body, one.copies) for _, one in inbox.dead_letters()] == [(b"0", 3), (b"1", 3)]
    assert inbox.backlog().dead_letters == 2


def test_dead_letter_bound_in_bytes(inbox: Inbox) -> None:
    """One of a kind that is there already is counted still; alerts are kept all the same."""
    body = bytes(MOST_DEAD_BYTES // 8)
    puts = [inbox.put(DeadLetter("door", "unknown", bytes([n]) + body)) for n in range(8)]
    puts += [inbox.put(letter("a")), inbox.put(DeadLetter("door", "unknown", bytes([0]) + body))]
    failures = [put.exception() for put in puts]
    assert [type(failure) for failure in failures] == [type(None)] * 7 + [DeadLettersFull, type(None), type(None)]
    [first, *_] = inbox.dead_letters(1)
    assert first[1].copies == 2
    inbox.remove_dead_letters([first[0]]).result()
    assert inbox.put(DeadLetter("door", "unknown", bytes([7]) + body)).result() is True


def test_dead_letter_bound_in_number(inbox: Inbox) -> None:
    puts = [inbox.put(dead(n)) for n in range(MOST_DEAD_LETTERS + 5)]
    assert [n for n, put in enumerate(puts) if put.exception()] == [*range(MOST_DEAD_LETTERS, MOST_DEAD_LETTERS + 5)]
    assert inbox.backlog().dead_letters == MOST_DEAD_LETTERS
    page = inbox.dead_letters(100, after=inbox.dead_letters(4000)[-1][0])
    assert [one.body for _, one in page] == [b"%d" % n for n in range(4000, 4100)]


# --- a file of an earlier version -------------------------------------------------------------------------------------

FIRST_SCHEMA = """
CREATE TABLE letters (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE, route TEXT NOT NULL, kind TEXT NOT NULL,
    told TEXT NOT NULL, body BLOB NOT NULL, received_at REAL NOT NULL, copies INTEGER NOT NULL DEFAULT 1, leader TEXT,
    flow_run_id TEXT, done_at REAL, trouble TEXT, refusals INTEGER NOT NULL DEFAULT 0, try_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX waiting ON letters (route, seq) WHERE done_at IS NULL;
CREATE TABLE told (seq INTEGER PRIMARY KEY, at REAL NOT NULL, times INTEGER NOT NULL DEFAULT 1);
CREATE TABLE cooldowns (route TEXT PRIMARY KEY, leader TEXT NOT NULL, began_at REAL NOT NULL);
CREATE TABLE dead_letters (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, route TEXT NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL,
    received_at REAL NOT NULL
);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def make_first_file(path: Path) -> None:
    """Write an inbox as the first version did: an alert, one that is done, a stage, dead letters."""
    alert = json.dumps(RECORDED | {"route": "door"})
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(FIRST_SCHEMA)
        insert = "INSERT INTO letters (identity, route, kind, told, body, received_at, done_at) VALUES (?,?,?,?,?,?,?)"
        database.execute(insert, ("id-1", "door", "alert", alert, b"{}", 1.0, None))
        database.execute(insert, ("id-2", "done", "alert", alert, b"{}", 2.0, time.time()))
        database.execute(insert, ("id-3", "door", "lifecycle", json.dumps({"event": "x"}), b"{}", 3.0, None))
        database.execute(insert, ("id-4", "door", "alert", "[]", b"{}", 4.0, None))
        rows = [("door", f"reason {n}", b"%d" % (n % 3), float(n)) for n in range(30)]
        database.executemany("INSERT INTO dead_letters (route, reason, body, received_at) VALUES (?,?,?,?)", rows)
        database.commit()


def test_schema_migration(path: Path) -> None:
    make_first_file(path)
    alert = Alert.model_validate(RECORDED | {"start_time": "2025-05-28T23:36:36Z", "end_time": "2025-05-28T23:36:46Z"})
    for _ in range(2):  # the second time there is nothing left to do
        with closing(Inbox(path)) as inbox:
            assert [one.identity for one in inbox.waiting("door", 9)] == ["id-1", "id-3", "id-4"]
            assert [(one.body, one.reason, one.copies) for _, one in inbox.dead_letters()] == [
                (b"%d" % n, f"reason {n}", 10) for n in range(3)
            ]
            assert inbox.backlog().dead_letters == 3
            # What was kept and done before is the same alert still, in another precision, too.
            assert [inbox.put(letter_of(alert, route, b"")).result() for route in ("door", "done")] == [False, False]


def test_schema_migration_by_two_processes(path: Path) -> None:
    make_first_file(path)
    with ThreadPoolExecutor(4) as pool:
        for opened in list(pool.map(Inbox, [path] * 4)):
            assert len(opened.dead_letters()) == 3
            opened.close()


def test_schema_of_a_newer_version_is_refused(path: Path) -> None:
    make_first_file(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="newer version of prefect-videodb"):
        Inbox(path)
