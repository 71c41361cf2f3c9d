"""Where alerts are kept from the moment they are answered until their flow run is there. On disk, before the answer.

SQLite in WAL mode, written through to the disk at each commit. What waits at the same time is committed together, so
thousands a second are durable. One table in the order of arrival; who takes from it marks what is done.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.webhooks.firing import MOST_COMPARED, REACH_S, Firing, Interval
from prefect_videodb.webhooks.inbox_schema import columns_of, migrate, open_file
from prefect_videodb.webhooks.mail import (
    MOST_DEAD_BYTES,
    MOST_DEAD_LETTERS,
    Away,
    Backlog,
    DeadLetter,
    DeadLettersFull,
    Letter,
    Lost,
    Waiting,
)
from prefect_videodb.webhooks.rules import Rules

# What may tell of the same firing: asked for each alert, and so answered from an index.
NEAR_FIRINGS = (
    "SELECT seq, firing, start_low, start_high, end_low, end_high FROM letters "
    "WHERE firing = ? AND start_low BETWEEN ? AND ? LIMIT ?"
)
# How often it is looked for its files while nothing is written.
_LOOK_EVERY_S = 1.0
_MOST_AT_ONCE = 1000
_GATHER_S = 0.0005
# An alert that comes again after so long is taken for another.
KEEP_S = 30 * 86_400.0
# A letter that was refused for what it holds is tried less and less often.
_FIRST_REST_S = 30.0
_LONGEST_REST_S = 3600.0


class Inbox:
    """The inbox in one SQLite file. Several processes may have it open; each method may be called in any thread."""

    keeps_cooldowns = True

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            ConfigurationError: it cannot be.
        """
        self._path = path
        # SQLite keeps two files beside it while it is open (where a link leads to, if it is one); what was answered may
        # be in them alone.
        self._paths = [path, *(Path(f"{path.resolve()}-{name}") for name in ("wal", "shm"))]
        self._size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._db = open_file(path)
            migrate(self._db)
            self._reader = _Reader(path)
            self._counter = _Reader(path)  # what counts must not hold up what dispatches
            self._files = self._look()
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"the inbox {path} cannot be opened: {error}") from error
        self.lost: Future[None] = Future()
        self.lost.set_running_or_notify_cancel()  # who waits for it cannot cancel it
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="inbox-writer")
        self._writer.start()

    def close(self) -> None:
        """Write what waits to be written, and close."""
        self._queue.put(None)
        self._writer.join()
        self._db.close()
        self._reader.close()
        self._counter.close()

    # --- in -----------------------------------------------------------------------------------------------------------

    def put(self, letter: Letter | DeadLetter) -> "Future[bool | None]":
        """Keep a letter. When the future is there it is on the disk; it gives whether the letter is a new one."""
        if isinstance(letter, DeadLetter):
            return self._soon(lambda: self._keep_dead(letter))
        return self._soon(lambda: self._keep(letter))

    def _keep(self, letter: Letter) -> bool:
        if (known := self._same(letter.firing)) is not None:
            self._db.execute("UPDATE letters SET copies = copies + 1 WHERE seq = ?", (known,))
            return False
        firing = letter.firing
        kept = self._db.execute(
            "INSERT INTO letters (identity, route, kind, told, body, received_at, firing, start_low, start_high, "
            "end_low, end_high) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                *(letter.identity, letter.route, letter.kind, json.dumps(letter.told), letter.body),
                letter.received_at,
                *(columns_of(firing) if firing else [None] * 5),
            ),
        )
        if not kept.rowcount:
            self._db.execute("UPDATE letters SET copies = copies + 1 WHERE identity = ?", (letter.identity,))
            return False
        if leader := self._leader(letter):
            self._db.execute("UPDATE letters SET leader = ? WHERE identity = ?", (leader, letter.identity))
        return True

    def _same(self, firing: Firing | None) -> int | None:
        """Return the number of the letter that tells of the same firing; None where there is none."""
        if firing is None:
            return None
        reach = firing.start.low - REACH_S, firing.start.low + REACH_S
        rows = self._db.execute(NEAR_FIRINGS, (firing.key, *reach, MOST_COMPARED))
        for seq, key, *moments in rows:
            if firing.is_same(Firing(key, Interval(*moments[:2]), Interval(*moments[2:]))):
                return int(seq)
        return None

    def _leader(self, letter: Letter) -> str | None:
        """Tell whose run this letter belongs to, within the cooldown of its route; None when it begins one."""
        if not letter.cooldown_s:
            return None
        row = self._db.execute("SELECT leader, began_at FROM cooldowns WHERE route = ?", (letter.route,)).fetchone()
        # Receivers write in another order than they receive in. A clock that was set back must not stretch a cooldown.
        if row and abs(letter.received_at - row["began_at"]) < letter.cooldown_s:
            if not self._is_refused(row["leader"]):
                return str(row["leader"])
            self._succeed(row["leader"], letter.identity)
            return None
        self._db.execute(
            "INSERT OR REPLACE INTO cooldowns VALUES (?, ?, ?)", (letter.route, letter.identity, letter.received_at)
        )
        return None

    def _is_refused(self, identity: str) -> bool:
        query = "SELECT 1 FROM letters WHERE identity = ? AND done_at IS NULL AND refusals > 0"
        return self._db.execute(query, (identity,)).fetchone() is not None

    def _succeed(self, old: str, new: str) -> None:
        """Let another letter begin the run of a cooldown: no run can be made of the one that should have."""
        self._db.execute("UPDATE letters SET leader = NULL WHERE identity = ?", (new,))
        self._db.execute(
            "UPDATE letters SET leader = ? WHERE done_at IS NULL AND (leader = ? OR identity = ?) AND identity != ?",
            (new, old, old, new),
        )
        self._db.execute("UPDATE cooldowns SET leader = ? WHERE leader = ?", (new, old))

    def _keep_dead(self, letter: DeadLetter) -> bool | DeadLettersFull:
        same = self._db.execute("UPDATE dead_letters SET copies = copies + 1 WHERE digest = ?", (letter.digest,))
        if same.rowcount:
            return False
        letters, size = self._db.execute("SELECT letters, bytes FROM dead_letter_usage").fetchone()
        if letters >= MOST_DEAD_LETTERS or size + len(letter.body) > MOST_DEAD_BYTES:
            return DeadLettersFull()
        self._db.execute(
            "INSERT INTO dead_letters (digest, route, reason, body, received_at) VALUES (?, ?, ?, ?, ?)",
            (letter.digest, letter.route, letter.reason, letter.body, letter.received_at),
        )
        return True

    # --- out ----------------------------------------------------------------------------------------------------------

    def routes(self, among: Collection[str]) -> list[str]:
        """Return those of these routes for which a new message waits."""
        query = (
            "SELECT value AS route FROM json_each(?) WHERE EXISTS "
            "(SELECT 1 FROM letters WHERE done_at IS NULL AND refusals = 0 AND route = value)"
        )
        return [row["route"] for row in self._read(query, json.dumps(list(among)))]

    def waiting(self, route: str, most: int) -> list[Waiting]:
        """Return the new messages of a route, in the order of arrival."""
        query = "SELECT * FROM letters WHERE done_at IS NULL AND refusals = 0 AND route = ? ORDER BY seq LIMIT ?"
        return [_waiting(row) for row in self._read(query, route, most)]

    def rejected(self, most: int) -> list[Waiting]:
        """Return rejected messages that are due to be tried again; those due longest come first."""
        query = "SELECT * FROM letters WHERE done_at IS NULL AND refusals > 0 AND try_at <= ? ORDER BY try_at LIMIT ?"
        return [_waiting(row) for row in self._read(query, time.time(), most)]

    def unserved(self, served: Collection[str], most: int, after: str = "") -> list[Waiting]:
        """Return the first new message of each route that is not served, by the route's name, from `after` on."""
        query = (
            "SELECT * FROM letters WHERE seq IN (SELECT min(seq) FROM letters WHERE done_at IS NULL AND refusals = 0 "
            "AND route > ? AND route NOT IN (SELECT value FROM json_each(?)) GROUP BY route LIMIT ?) ORDER BY route"
        )
        return [_waiting(row) for row in self._read(query, after, json.dumps(list(served)), most)]

    def flow_run_of(self, identity: str) -> str | None:
        """Give the flow run that a letter was made into; None before it was. It is kept as long as its cooldown."""
        rows = self._read("SELECT flow_run_id FROM letters WHERE identity = ?", identity)
        return rows[0]["flow_run_id"] if rows else None

    def done(self, seqs: Sequence[tuple[int, str]]) -> "Future[None]":
        """Mark letters as done, each with its flow run."""
        now = time.time()

        def mark() -> None:
            self._db.executemany(
                "UPDATE letters SET done_at = ?, flow_run_id = ?, trouble = NULL WHERE seq = ?",
                [(now, flow_run_id, seq) for seq, flow_run_id in seqs],
            )

        return self._soon(mark)

    def in_trouble(self, seq: int, trouble: str) -> "Future[None]":
        """Say of a letter why it still waits."""

        def mark() -> None:
            # Repeated, it writes nothing.
            self._db.execute(
                "UPDATE letters SET trouble = ? WHERE seq = ? AND trouble IS NOT ?", (trouble, seq, trouble)
            )

        return self._soon(mark)

    def refused(self, seq: int, trouble: str) -> "Future[None]":
        """Say of a letter that no run can be made of what it holds: it rests, and holds up no other.

        Those that are attached to it are attached to the first of them instead.
        """

        def mark() -> None:
            query = "SELECT identity, leader, refusals FROM letters WHERE seq = ?"
            identity, leader, refusals = self._db.execute(query, (seq,)).fetchone()
            rest_s = min(_FIRST_REST_S * 2.0 ** min(refusals, 20), _LONGEST_REST_S)
            self._db.execute(
                "UPDATE letters SET trouble = ?, refusals = refusals + 1, try_at = ? WHERE seq = ?",
                (trouble, time.time() + rest_s, seq),
            )
            if leader is None:
                self._leave_cooldown(identity)

        return self._soon(mark)

    def _leave_cooldown(self, identity: str) -> None:
        """Let the next message that is attached to this one begin the run of the cooldown, where there is one."""
        heirs = "SELECT identity FROM letters WHERE done_at IS NULL AND leader = ? AND refusals = 0 ORDER BY seq"
        if heir := self._db.execute(heirs, (identity,)).fetchone():
            self._succeed(identity, heir["identity"])

    def give_up(self, seq: int, reason: str) -> "Future[None]":
        """Move a message to the dead letters."""

        def move() -> None:
            row = self._db.execute("SELECT * FROM letters WHERE seq = ? AND done_at IS NULL", (seq,)).fetchone()
            if row is None:
                return
            # What came over the WebSocket has no body: what was read of it can be read again.
            body = row["body"] or row["told"].encode()
            kept = self._keep_dead(DeadLetter(row["route"], reason, body, row["received_at"]))
            if isinstance(kept, DeadLettersFull):  # it waits on
                rest = "UPDATE letters SET trouble = ?, try_at = ? WHERE seq = ?"
                self._db.execute(rest, (str(kept), time.time() + _LONGEST_REST_S, seq))
                return
            self._leave_cooldown(row["identity"])
            self._delete_waiting(seq=seq)

        return self._soon(move)

    def drop(self, route: str) -> "Future[int]":
        """Delete all that waits for a route, and return how many messages that were."""
        return self._soon(lambda: self._delete_waiting(route=route))

    def _delete_waiting(self, *, seq: int | None = None, route: str | None = None) -> int:
        """Delete messages that are not done, and end the cooldowns whose first message they are."""
        # Else what comes next would wait for the run of a message that is gone.
        self._db.execute(
            "DELETE FROM cooldowns WHERE leader IN "
            "(SELECT identity FROM letters WHERE done_at IS NULL AND (seq = ? OR route = ?))",
            (seq, route),
        )
        delete = "DELETE FROM letters WHERE done_at IS NULL AND (seq = ? OR route = ?)"
        return self._db.execute(delete, (seq, route)).rowcount

    def heartbeat(self) -> "Future[None]":
        """Take note that a dispatcher is at work."""
        now = json.dumps(time.time())

        def mark() -> None:
            self._db.execute("INSERT OR REPLACE INTO settings VALUES ('dispatcher_seen_at', ?)", (now,))

        return self._soon(mark)

    def tidy(self) -> None:
        """Forget what was done so long ago that it is another alert when it comes again."""
        self.forget(time.time() - KEEP_S)

    def forget(self, before: float) -> "Future[None]":
        """Remove what was done before a moment, in unix seconds. What is not done is never removed."""

        def remove() -> None:
            self._db.execute("DELETE FROM letters WHERE done_at < ?", (before,))

        return self._soon(remove)

    def backlog(self) -> Backlog:
        """Tell how much waits."""
        read = self._counter.read
        [row] = read("SELECT count(*) AS n, min(received_at) AS oldest FROM letters WHERE done_at IS NULL")
        [dead] = read("SELECT letters AS n FROM dead_letter_usage")
        troubles = read("SELECT DISTINCT trouble FROM letters WHERE done_at IS NULL AND trouble IS NOT NULL LIMIT 9")
        seen = read("SELECT value FROM settings WHERE key = 'dispatcher_seen_at'")
        return Backlog(
            *(row["n"], row["oldest"], dead["n"], [str(trouble["trouble"]) for trouble in troubles]),
            dispatcher_seen_at=json.loads(seen[0]["value"]) if seen else 0.0,
        )

    def dead_letters(self, most: int = 1000, after: int = 0) -> list[tuple[int, DeadLetter]]:
        """Return what no run can be made of, by number: the first of those with a greater number than `after`."""
        rows = self._read("SELECT * FROM dead_letters WHERE seq > ? ORDER BY seq LIMIT ?", after, most)
        return [
            (row["seq"], DeadLetter(row["route"], row["reason"], row["body"], row["received_at"], row["copies"]))
            for row in rows
        ]

    def remove_dead_letters(self, seqs: Sequence[int]) -> "Future[set[int]]":
        """Remove some of them; returns which of the numbers there were."""
        return self._soon(lambda: {seq for seq in seqs if self._remove_dead(seq)})

    def _remove_dead(self, seq: int) -> bool:
        return self._db.execute("DELETE FROM dead_letters WHERE seq = ?", (seq,)).rowcount > 0

    def give_back(self, seq: int, letters: Sequence[Letter]) -> "Future[bool]":
        """Keep letters that were made of a dead one, and remove that, in one; returns whether there was such a one."""

        def move() -> bool:
            if not self._remove_dead(seq):
                return False
            for letter in letters:
                self._keep(letter)
            return True

        return self._soon(move)

    def version(self) -> int:
        """Give a number that changes when another process wrote something."""
        return int(self._read("PRAGMA data_version")[0][0])

    # --- rules --------------------------------------------------------------------------------------------------------

    def keep_rules(self, rules: Rules) -> None:
        """Write down what to go by when Prefect cannot be asked. Of the tokens there are but digests in it."""
        told = rules.model_dump_json()

        def keep() -> None:
            self._db.execute("INSERT OR REPLACE INTO settings VALUES ('rules', ?)", (told,))

        self._soon(keep).result()

    def rules(self) -> Rules | None:
        """Give what was last gone by; None when nothing was."""
        rows = self._read("SELECT value FROM settings WHERE key = 'rules'")
        return Rules.model_validate_json(rows[0]["value"]) if rows else None

    # --- the file -----------------------------------------------------------------------------------------------------

    def _read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        return self._reader.read(query, *values)

    def _look(self) -> list[tuple[int, int]]:
        """Return which files are there under the names of those that are open.

        Raises:
            OSError: one is not there.
        """
        found = [path.stat() for path in self._paths]
        size = found[0].st_size
        if size < self._size:
            raise OSError("it was cut off")
        self._size = size
        return [(one.st_dev, one.st_ino) for one in found]

    def _check_files(self) -> None:
        """Look whether what is written is in the files that a later process opens.

        Raises:
            Lost: it is not; `lost` fails, too.
        """
        if not self.lost.done():
            with suppress(OSError):
                if self._look() == self._files:
                    return
            # The file may have been moved: what is beside it belongs into it.
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            why = (
                f"the inbox {self._path}, or a file of SQLite beside it (-wal, -shm), was moved, removed or replaced "
                "while it was in use; what was kept is in the file that was moved. This process ends: start it again "
                "when the file is back, or to begin with an empty inbox"
            )
            self.lost.set_exception(Lost(why))
        raise Lost(str(self.lost.exception()))

    def _soon(self, act: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        self._queue.put((act, future))
        return future

    def _write(self) -> None:
        """Commit together what waits together, until the inbox is closed."""
        while True:
            try:
                first = self._queue.get(timeout=_LOOK_EVERY_S)
            except Empty:
                with suppress(Lost):  # whoever waits for `lost` is told
                    self._check_files()
                continue
            if first is None:
                return
            # What comes in this time is written together: a commit costs more than what it holds.
            time.sleep(_GATHER_S)
            batch = [first]
            while len(batch) < _MOST_AT_ONCE and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                batch.append(following)
            self._commit(batch)

    def _commit(self, batch: list[tuple[Callable[[], Any], "Future[Any]"]]) -> None:
        # From here on nobody can cancel them; who went away before is not told.
        told = [future.set_running_or_notify_cancel() for _, future in batch]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            results = [act() for act, _ in batch]
            self._db.execute("COMMIT")
            # Looked at after the commit and before the answer: what is kept in no file is not kept.
            self._check_files()
        except Exception as error:  # noqa: BLE001 - a full disk, a file that is gone: whoever waits for it is told
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            told_as = Away(str(error)) if isinstance(error, sqlite3.Error) else error
            for (_, future), is_there in zip(batch, told, strict=True):
                if is_there:
                    future.set_exception(told_as)
            return
        for (_, future), is_there, result in zip(batch, told, results, strict=True):
            if is_there and isinstance(result, Exception):
                future.set_exception(result)
            elif is_there:
                future.set_result(result)


class _Reader:
    """A connection that reads, for whichever thread."""

    def __init__(self, path: Path) -> None:
        self._db = open_file(path)
        self._lock = threading.Lock()

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        try:
            with self._lock:
                return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise Away(str(error)) from error

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _waiting(row: sqlite3.Row) -> Waiting:
    return Waiting(
        *(row["seq"], row["identity"], row["route"], row["kind"], json.loads(row["told"])),
        *(row["received_at"], row["leader"]),
    )
