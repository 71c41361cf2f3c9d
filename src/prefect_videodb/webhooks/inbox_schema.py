"""The file of the inbox: how it is opened, its tables, and how one of an earlier version becomes one of today."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.alert import Alert
from prefect_videodb.webhooks.firing import Firing, firing_of
from prefect_videodb.webhooks.mail import DeadLetter


def columns_of(firing: Firing) -> list[str | float]:
    """Return a firing as it is written down: firing, start_low, start_high, end_low, end_high."""
    return [firing.key, firing.start.low, firing.start.high, firing.end.low, firing.end.high]


def _fill_in_firings(db: sqlite3.Connection) -> None:
    """Write down the firings of the newest letters of an earlier version: what comes again comes within minutes."""
    rows = db.execute("SELECT seq, route, told FROM letters WHERE kind = 'alert' ORDER BY seq DESC LIMIT 10000")
    for seq, route, told in rows.fetchall():
        with suppress(ValidationError):
            if firing := firing_of(Alert.model_validate_json(told), route):
                db.execute(
                    "UPDATE letters SET firing = ?, start_low = ?, start_high = ?, end_low = ?, end_high = ? "
                    "WHERE seq = ?",
                    (*columns_of(firing), seq),
                )


# The steps by which a file of any earlier version becomes one of today; its `user_version` says how many it has taken.
_STEPS: tuple[tuple[str | Callable[[sqlite3.Connection], None], ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS letters (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            identity TEXT NOT NULL UNIQUE,
            route TEXT NOT NULL,
            kind TEXT NOT NULL,
            told TEXT NOT NULL,
            body BLOB NOT NULL,
            received_at REAL NOT NULL,
            copies INTEGER NOT NULL DEFAULT 1,
            leader TEXT,
            flow_run_id TEXT,
            done_at REAL,
            trouble TEXT,
            refusals INTEGER NOT NULL DEFAULT 0,
            try_at REAL NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX IF NOT EXISTS waiting ON letters (route, seq) WHERE done_at IS NULL",
        "CREATE TABLE IF NOT EXISTS told (seq INTEGER PRIMARY KEY, at REAL NOT NULL, times INTEGER NOT NULL DEFAULT 1)",
        "CREATE TABLE IF NOT EXISTS cooldowns (route TEXT PRIMARY KEY, leader TEXT NOT NULL, began_at REAL NOT NULL)",
        """CREATE TABLE IF NOT EXISTS dead_letters (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, route TEXT NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL,
            received_at REAL NOT NULL
        )""",
        "CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
    (
        # When a firing was, and which: see `firing`.
        *(
            f"ALTER TABLE letters ADD COLUMN {column}"
            for column in ("firing TEXT", "start_low REAL", "start_high REAL", "end_low REAL", "end_high REAL")
        ),
        "CREATE INDEX firings ON letters (firing, start_low) WHERE firing IS NOT NULL",
        _fill_in_firings,
        # What is new is taken in order, what was rejected when it is due.
        "DROP INDEX IF EXISTS waiting",
        "CREATE INDEX IF NOT EXISTS queued ON letters (route, refusals, seq) WHERE done_at IS NULL",
        "CREATE INDEX IF NOT EXISTS rejected ON letters (try_at) WHERE done_at IS NULL AND refusals > 0",
        "DROP TABLE IF EXISTS told",
        # The same dead letter is kept once.
        """CREATE TABLE dead_letters_2 (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, route TEXT NOT NULL,
            reason TEXT NOT NULL, body BLOB NOT NULL, received_at REAL NOT NULL, copies INTEGER NOT NULL DEFAULT 1
        )""",
        """INSERT INTO dead_letters_2
            SELECT min(seq), digest_of(route, body), route, reason, body, received_at, count(*)
            FROM dead_letters GROUP BY 2""",
        "DROP TABLE dead_letters",
        "ALTER TABLE dead_letters_2 RENAME TO dead_letters",
        # How many there are and how long they are in all, without looking at each.
        "CREATE TABLE dead_letter_usage (letters INTEGER NOT NULL, bytes INTEGER NOT NULL)",
        "INSERT INTO dead_letter_usage SELECT count(*), coalesce(sum(length(body)), 0) FROM dead_letters",
        """CREATE TRIGGER dead_letter_kept AFTER INSERT ON dead_letters BEGIN
            UPDATE dead_letter_usage SET letters = letters + 1, bytes = bytes + length(new.body);
        END""",
        """CREATE TRIGGER dead_letter_removed AFTER DELETE ON dead_letters BEGIN
            UPDATE dead_letter_usage SET letters = letters - 1, bytes = bytes - length(old.body);
        END""",
    ),
)


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file as each connection to it is opened."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk before anybody is told
    return db


def migrate(db: sqlite3.Connection) -> None:
    """Make of a file of any earlier version one of today, in place: in one transaction, or not at all.

    Raises:
        ConfigurationError: a newer version of this package has written it.
    """
    db.create_function("digest_of", 2, lambda route, body: DeadLetter(route, "", body).digest)
    if _version(db) == len(_STEPS):
        return
    db.execute("BEGIN IMMEDIATE")  # another process may be at it
    version = _version(db)
    if version > len(_STEPS):
        raise ConfigurationError("the inbox was written by a newer version of prefect-videodb: start that one")
    for step in _STEPS[version:]:
        for statement in step:
            if isinstance(statement, str):
                db.execute(statement)
            else:
                statement(db)
    db.execute(f"PRAGMA user_version = {len(_STEPS)}")
    db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
