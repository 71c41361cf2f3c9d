"""The data folder: one SQLite database, the media files beside it, and the lock that keeps a second server out."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from prefect_videodb.local_server.errors import FolderInUse, ServerError

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE collections (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, is_public INTEGER NOT NULL,
    created_at REAL NOT NULL
) STRICT;
CREATE TABLE streams (
    id TEXT PRIMARY KEY, collection_id TEXT NOT NULL REFERENCES collections (id), name TEXT NOT NULL, url TEXT NOT NULL,
    media_types TEXT NOT NULL, sample_rate INTEGER NOT NULL, store INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('connected', 'stopped', 'error')), status_message TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;
-- One connected period of a stream. Open (ended_at is null) as long as its stream is connected.
CREATE TABLE recordings (
    id INTEGER PRIMARY KEY, stream_id TEXT NOT NULL REFERENCES streams (id), started_at REAL NOT NULL, ended_at REAL
) STRICT;
CREATE UNIQUE INDEX one_open_recording ON recordings (stream_id) WHERE ended_at IS NULL;
CREATE INDEX recordings_of_stream ON recordings (stream_id);
-- AUTOINCREMENT: who goes through rows by their number must not meet the number of a deleted one again.
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, recording_id INTEGER NOT NULL REFERENCES recordings (id),
    path TEXT NOT NULL UNIQUE,
    wall_start REAL NOT NULL, duration_s REAL NOT NULL, run INTEGER NOT NULL,
    has_video INTEGER NOT NULL, has_audio INTEGER NOT NULL
) STRICT;
CREATE INDEX segments_of_recording ON segments (recording_id, wall_start);
CREATE TABLE videos (
    id TEXT PRIMARY KEY, collection_id TEXT NOT NULL REFERENCES collections (id), name TEXT NOT NULL,
    recording_id INTEGER UNIQUE REFERENCES recordings (id), path TEXT NOT NULL,
    length_s REAL NOT NULL, size_bytes INTEGER NOT NULL,
    has_video INTEGER NOT NULL, has_audio INTEGER NOT NULL, slug TEXT NOT NULL UNIQUE, created_at REAL NOT NULL
) STRICT;
CREATE TABLE transcripts (
    video_id TEXT PRIMARY KEY REFERENCES videos (id) ON DELETE CASCADE, engine TEXT NOT NULL, created_at REAL NOT NULL
) STRICT;
CREATE TABLE words (
    video_id TEXT NOT NULL REFERENCES transcripts (video_id) ON DELETE CASCADE, sentence INTEGER NOT NULL,
    position INTEGER NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (video_id, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE spoken_word_indexes (
    video_id TEXT PRIMARY KEY REFERENCES videos (id) ON DELETE CASCADE,
    status TEXT NOT NULL CHECK (status IN ('processing', 'done', 'failed')), message TEXT NOT NULL
) STRICT;
CREATE TABLE clips (slug TEXT PRIMARY KEY, shots TEXT NOT NULL, created_at REAL NOT NULL) STRICT;
-- What /watch?v=<slug> shows.
CREATE TABLE pages (
    slug TEXT PRIMARY KEY, title TEXT NOT NULL, description TEXT NOT NULL, stream_path TEXT NOT NULL
) STRICT;
CREATE TABLE downloads (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, stream_path TEXT NOT NULL, slug TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('processing', 'done', 'error')), path TEXT, created_at REAL NOT NULL
) STRICT;
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, arguments TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('processing', 'done', 'failed')), percentage REAL NOT NULL,
    attempts INTEGER NOT NULL,
    result TEXT, error_status INTEGER, message TEXT, created_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_running_job ON jobs (kind, subject) WHERE status = 'processing';
-- Who is to be told when a job is done; then the row becomes a delivery.
CREATE TABLE callbacks (
    id INTEGER PRIMARY KEY, job_id TEXT NOT NULL REFERENCES jobs (id), url TEXT NOT NULL, base_url TEXT NOT NULL
) STRICT;
-- What is to be POSTed somewhere; a row is removed when it was accepted, or given up.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL, url TEXT NOT NULL, body TEXT NOT NULL,
    attempts INTEGER NOT NULL
) STRICT;
-- What is said in a live stream, in unix seconds; words is [[text, start, end], …].
CREATE TABLE utterances (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream_id TEXT NOT NULL REFERENCES streams (id), start_at REAL NOT NULL,
    end_at REAL NOT NULL, text TEXT NOT NULL, words TEXT NOT NULL, in_transcript INTEGER NOT NULL
) STRICT;
CREATE INDEX utterances_of_stream ON utterances (stream_id, id);
-- Who is listened to: everything up to this segment was heard.
CREATE TABLE listening (
    stream_id TEXT PRIMARY KEY REFERENCES streams (id), segment_id INTEGER NOT NULL
) STRICT;
CREATE TABLE transcriptions (
    stream_id TEXT PRIMARY KEY REFERENCES streams (id), engine TEXT NOT NULL, ws_connection_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'stopped', 'failed')), since REAL NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL
) STRICT;
-- What looks at or listens to a stream, batch by batch, from `since` on: scene indexes and understandings.
CREATE TABLE analyses (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('scene_index', 'understanding')),
    stream_id TEXT NOT NULL REFERENCES streams (id),
    extraction_type TEXT NOT NULL CHECK (extraction_type IN ('time', 'transcript')),
    config TEXT NOT NULL, details TEXT NOT NULL, ws_connection_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'stopped', 'failed')),
    since REAL NOT NULL, utterance_id INTEGER NOT NULL, word INTEGER NOT NULL, created_at REAL NOT NULL
) STRICT;
CREATE INDEX analyses_of_stream ON analyses (stream_id, created_at);
-- The newer API's indexes: of what an understanding brings.
CREATE TABLE understanding_indexes (
    id TEXT PRIMARY KEY, stream_id TEXT NOT NULL REFERENCES streams (id),
    understanding_id TEXT NOT NULL REFERENCES analyses (id), output TEXT NOT NULL, name TEXT NOT NULL,
    use_for TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ('running', 'stopped')), created_at REAL NOT NULL
) STRICT;
-- index_id is that of an analysis, or of an index of one.
CREATE TABLE records (
    id INTEGER PRIMARY KEY, index_id TEXT NOT NULL, start_at REAL NOT NULL, end_at REAL NOT NULL, text TEXT NOT NULL,
    metadata TEXT NOT NULL
) STRICT;
CREATE INDEX records_of_index ON records (index_id, start_at);
CREATE TABLE events (
    id TEXT PRIMARY KEY, prompt TEXT NOT NULL, label TEXT NOT NULL, created_at REAL NOT NULL
) STRICT;
-- An alert is told when its event becomes true: `holds` says whether it was at the last record.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY, index_id TEXT NOT NULL, event_id TEXT NOT NULL REFERENCES events (id),
    callback_url TEXT NOT NULL, ws_connection_id TEXT, base_url TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')), holds INTEGER NOT NULL, created_at REAL NOT NULL
) STRICT;
CREATE INDEX alerts_of_index ON alerts (index_id);
CREATE TABLE capture_sessions (
    id TEXT PRIMARY KEY, collection_id TEXT NOT NULL REFERENCES collections (id), end_user_id TEXT NOT NULL,
    callback_url TEXT, ws_connection_id TEXT, metadata TEXT NOT NULL, status TEXT NOT NULL, channels TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;
CREATE TABLE meetings (
    id TEXT PRIMARY KEY, collection_id TEXT NOT NULL REFERENCES collections (id), request TEXT NOT NULL,
    base_url TEXT NOT NULL, status TEXT NOT NULL, stream_id TEXT REFERENCES streams (id), video_id TEXT,
    message TEXT, created_at REAL NOT NULL
) STRICT;
CREATE TABLE video_scene_indexes (
    id TEXT PRIMARY KEY, video_id TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE, name TEXT,
    status TEXT NOT NULL CHECK (status IN ('processing', 'done', 'failed')), created_at REAL NOT NULL
) STRICT;
CREATE TABLE video_scenes (
    index_id TEXT NOT NULL REFERENCES video_scene_indexes (id) ON DELETE CASCADE, start_s REAL NOT NULL,
    end_s REAL NOT NULL, description TEXT NOT NULL, metadata TEXT NOT NULL
) STRICT;
CREATE INDEX scenes_of_index ON video_scenes (index_id, start_s);
CREATE TABLE thumbnails (
    id TEXT PRIMARY KEY, video_id TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE, at_s REAL NOT NULL,
    path TEXT NOT NULL, slug TEXT NOT NULL UNIQUE, created_at REAL NOT NULL
) STRICT;
"""
# Added to the format later: an older server does not miss them.
ADDED = """
-- What is gone of a stream that is not stored: its playlists go on counting.
CREATE TABLE IF NOT EXISTS dropped_segments (
    stream_id TEXT PRIMARY KEY REFERENCES streams (id), segments INTEGER NOT NULL, run INTEGER NOT NULL,
    end_at REAL NOT NULL
) STRICT;
-- What the export of a recording lacks, as it could not be read, in unix seconds.
CREATE TABLE IF NOT EXISTS unreadable (
    recording_id INTEGER NOT NULL REFERENCES recordings (id), start_at REAL NOT NULL, end_at REAL NOT NULL
) STRICT;
"""


class Store:
    """A data folder, held by this process until it is closed.

    Statements of all threads go through one connection, one after the other: they take microseconds, and what SQLite
    offers instead (a connection for each thread) answers "database is locked" under load.

    Raises:
        FolderInUse: when another server works in the folder.
        ServerError: when the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it will hold passwords of sources
            self._lock_file = _lock(folder / "server.lock")
        except OSError as error:
            raise ServerError(f"the data folder {folder} cannot be used: {error.strerror}") from error
        self._lock = threading.RLock()
        try:
            self._connection = _connect(folder / "videodb.sqlite3")
        except BaseException:
            self._lock_file.close()
            raise

    def close(self) -> None:
        """Give the folder back."""
        with self._lock:
            self._connection.close()
        self._lock_file.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside happen together or not at all. Transactions of one thread nest."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def execute(self, statement: str, *values: object) -> int:
        """Run a statement that changes something, and return how many rows it changed."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def insert(self, statement: str, *values: object) -> int:
        """Run an insert, and return the new row's number."""
        with self._lock:
            number = self._connection.execute(statement, values).lastrowid
        if number is None:  # pragma: no cover - only for statements that are no insert
            raise TypeError("not an INSERT")
        return number

    def insert_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one insert for many rows."""
        with self._lock:
            self._connection.executemany(statement, rows)

    def all(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def one(self, query: str, *values: object) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
            return row

    def setting(self, name: str, default: bytes) -> bytes:
        """Return a setting of this folder, made from `default` the first time."""
        self.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", name, default)
        row = self.one("SELECT value FROM settings WHERE name = ?", name)
        return bytes(row["value"]) if row else default

    def path(self, relative: str) -> Path:
        """Return the place of a file whose row holds its path: a relative one, so that the folder may be moved."""
        return self.folder / relative

    def relative(self, path: Path) -> str:
        """Return how a row names a file of this folder."""
        return path.relative_to(self.folder).as_posix()


def _lock(path: Path) -> IO[str]:
    """Take the lock that the kernel gives back even when this process is killed."""
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read(20).strip() or "unknown"
        file.close()
        raise FolderInUse(
            f"the data folder {path.parent} is in use by another server (process {owner}): "
            "stop that one, or choose another folder"
        ) from None
    except BaseException:
        file.close()
        raise
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL mode NORMAL loses nothing when the process is killed, only (at worst the last moments) on a power cut.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ServerError(f"{path} cannot be read as a database ({error}): use a new folder") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the database to this version's format."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version != SCHEMA_VERSION:
        raise ServerError(
            f"{path} was written by another version of this server (format {version}, this one reads "
            f"{SCHEMA_VERSION}): use that version, or a new folder"
        )
    connection.executescript(ADDED)
