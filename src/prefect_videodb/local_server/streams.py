"""Live streams and their recordings.

A recording is one connected period of a stream, from a start to the next stop. Losing the source for a while, or the
server for a while, does not end it: what comes after is another run in the same recording.
"""

import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect_videodb.local_server import ids, urls
from prefect_videodb.local_server.errors import BadRequest, NotFound, Unavailable
from prefect_videodb.local_server.media.recorder import Recorder, RecorderState
from prefect_videodb.local_server.media.segments import (
    LONGEST_SEGMENT_S,
    MOST_LATENCY_S,
    Listing,
    MediaType,
    Segment,
    window,
)
from prefect_videodb.local_server.store import Store

logger = logging.getLogger(__name__)

DEFAULT_SAMPLE_RATE = 30
# A source that sends nothing notices the stop when its read times out. The SDK waits 30 s for an answer.
STOP_S = 25.0
# The whole server has ten seconds to end.
CLOSING_S = 4.0
# What stays playable of a stream that is connected without being stored.
LIVE_WINDOW_S = 600.0
# What no playlist lists any more can be had as long as the longest playlist it stood in (RFC 8216, 6.2.2).
KEPT_S = 2 * LIVE_WINDOW_S + LONGEST_SEGMENT_S
# A window whose source is away ends so long after its end: what was under way is stored by then.
WINDOW_GRACE_S = MOST_LATENCY_S + 30.0
DAY_S = 24 * 3600
# How many live streams people are shown.
MAX_LIVE_SHOWN = 60
ORDERS = {"created_at", "name", "status"}


@dataclass(frozen=True, slots=True)
class Recording:
    """A finished recording that can be exported."""

    id: int
    stream_id: str
    stream_name: str
    collection_id: str
    has_video: bool


@dataclass(frozen=True, slots=True)
class LiveStream:
    """A stream that is recorded now, as people see it."""

    id: str
    name: str
    status_message: str
    started_at: float
    recorded_s: float
    has_picture: bool

    @property
    def window_path(self) -> str:
        """The path of a playlist of what is recorded, which grows; another one every day."""
        days = int((time.time() - self.started_at) // DAY_S)
        return manifest_path(self.id, self.started_at + days * DAY_S, self.started_at + (days + 1) * DAY_S)


@dataclass(slots=True)
class _Locks:
    """One lock for each stream: its start, stop and export happen one after the other."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    locks: dict[str, threading.Lock] = field(default_factory=dict)

    def of(self, stream_id: str) -> threading.Lock:
        with self.guard:
            return self.locks.setdefault(stream_id, threading.Lock())


class Streams:
    """The streams of one server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._live: dict[str, Recorder] = {}
        self._locks = _Locks()
        self._closing = threading.Event()

    # --- life of the server -------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on where an earlier server on this folder was stopped or killed."""
        closed = (
            "UPDATE recordings SET ended_at = ? WHERE ended_at IS NULL "
            "AND stream_id NOT IN (SELECT id FROM streams WHERE status = 'connected')"
        )
        self._store.execute(closed, time.time())
        left = (
            "SELECT recordings.id FROM recordings JOIN streams ON streams.id = stream_id "
            "WHERE ended_at IS NOT NULL AND NOT store AND recordings.id IN (SELECT recording_id FROM segments)"
        )
        for row in self._store.all(left):
            self._forget(row["id"], before=math.inf)
        self._remove_unknown_files()
        for row in self._store.all("SELECT id, stream_id FROM recordings WHERE ended_at IS NULL"):
            self._record(row["stream_id"], row["id"])

    def close(self) -> None:
        """Stop recording. The streams stay `connected`: the next server on this folder goes on."""
        self._closing.set()
        live = list(self._live.values())
        with ThreadPoolExecutor(max(1, len(live))) as pool:
            for stopping in [pool.submit(recorder.stop, CLOSING_S) for recorder in live]:
                try:
                    stopping.result()
                except TimeoutError as error:
                    # Its thread ends with the process; what it announced is stored.
                    logger.warning("%s", error)
        self._live.clear()

    # --- operations ---------------------------------------------------------------------------------------------------

    def connect(
        self,
        *,
        url: str,
        name: str,
        collection_id: str,
        media_types: Iterable[MediaType],
        store: bool,
        sample_rate: int | None,
    ) -> dict[str, Any]:
        """Create a stream and begin to record it.

        Raises:
            BadRequest: when `url` is none that can be recorded.
        """
        url = check_source(url)
        stream_id = ids.stream_id()
        now = time.time()
        with self._locks.of(stream_id):
            with self._store.transaction():
                self._store.execute(
                    "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, 'connected', 'Connecting', ?)",
                    *(stream_id, collection_id, name, url, json.dumps(sorted(set(media_types)))),
                    *(sample_rate if sample_rate is not None else DEFAULT_SAMPLE_RATE, store, now),
                )
                recording_id = self._open_recording(stream_id, now)
            self._record(stream_id, recording_id)
        return self.get(stream_id)

    def get(self, stream_id: str) -> dict[str, Any]:
        """Return a stream as the service describes it."""
        return _described(self._row(stream_id))

    def page(
        self, *, limit: int, offset: int, status: str | None, name: str | None, ordering: str | None
    ) -> tuple[list[dict[str, Any]], int]:
        """Return one page of the account's streams, and how many there are on all pages.

        Raises:
            BadRequest: when `ordering` names no field.
        """
        order = ordering or "-created_at"
        column = order.removeprefix("-")
        if column not in ORDERS:
            raise BadRequest(f"ordering must be one of {', '.join(sorted(ORDERS))}, or one of them after a minus sign")
        direction = "DESC" if order.startswith("-") else "ASC"
        where = "WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR instr(lower(name), lower(?2)) > 0)"
        with self._store.transaction():
            count = self._store.all(f"SELECT count(*) AS n FROM streams {where}", status, name)[0]["n"]  # noqa: S608 - a constant
            rows = self._store.all(
                f"SELECT * FROM streams {where} ORDER BY {column} {direction}, id {direction} LIMIT ?3 OFFSET ?4",  # noqa: S608 - of ORDERS
                *(status, name, limit, offset),
            )
        return [_described(row) for row in rows], count

    def of_collection(self, collection_id: str) -> list[dict[str, Any]]:
        """Return all streams of a collection, the oldest first."""
        rows = self._store.all("SELECT * FROM streams WHERE collection_id = ? ORDER BY created_at, id", collection_id)
        return [_described(row) for row in rows]

    def start(self, stream_id: str) -> dict[str, Any]:
        """Connect a stopped stream again; what it records is a new recording.

        Raises:
            BadRequest: when it is connected already.
        """
        with self._locks.of(self._row(stream_id)["id"]):
            if self._row(stream_id)["status"] == "connected":
                raise BadRequest("RTStream is already connected: connecting starts it, so leave the start out")
            with self._store.transaction():
                self._set_status(stream_id, "connected", "Connecting")
                recording_id = self._open_recording(stream_id, time.time())
            self._record(stream_id, recording_id)
        return self.get(stream_id)

    def stop(self, stream_id: str) -> dict[str, Any]:
        """Disconnect a stream and close its recording. Stopping a stopped stream changes nothing.

        Raises:
            Unavailable: when a silent source holds its connection longer than a caller waits; it is to be repeated.
        """
        with self._locks.of(self._row(stream_id)["id"]):
            # First the intention: killed after this line, the server does not go on recording when it is back.
            self._set_status(stream_id, "stopped", "Stopped")
            recorder = self._live.get(stream_id)
            if recorder:
                try:
                    recorder.stop(STOP_S)
                except TimeoutError as error:
                    raise Unavailable(str(error)) from error
                del self._live[stream_id]
            self._close_recording(stream_id)
        return self.get(stream_id)

    def update(self, stream_id: str, *, name: str | None, sample_rate: int | None) -> dict[str, Any]:
        """Give a stream another name or sample rate; what is None stays."""
        self._store.execute(
            "UPDATE streams SET name = coalesce(?, name), sample_rate = coalesce(?, sample_rate) WHERE id = ?",
            *(name, sample_rate, self._row(stream_id)["id"]),
        )
        return self.get(stream_id)

    def latest_recording(self, stream_id: str) -> Recording:
        """Return what an export of this stream takes: its latest recording that is finished and holds something.

        Raises:
            BadRequest: when there is none.
        """
        with self._locks.of(self._row(stream_id)["id"]):
            stream = self._row(stream_id)
            if stream["status"] == "connected":
                raise BadRequest("No recordings available: the RTStream is still connected, stop it first")
            row = self._store.one(
                "SELECT recordings.id, max(has_video) AS has_video FROM recordings "
                "JOIN segments ON segments.recording_id = recordings.id "
                "WHERE stream_id = ? AND ended_at IS NOT NULL GROUP BY recordings.id "
                "ORDER BY recordings.id DESC LIMIT 1",
                stream_id,
            )
        if not stream["store"]:
            raise BadRequest("No recordings available: the RTStream was connected without store=true")
        if row is None:
            reason = f" ({stream['status_message']})" if stream["status"] == "error" else ""
            raise BadRequest(f"No recordings available: nothing was received from the source{reason}")
        return Recording(row["id"], stream_id, stream["name"], stream["collection_id"], bool(row["has_video"]))

    def playback(self, stream_id: str, start: float, end: float) -> tuple[str, str]:
        """Return the path of a playlist of [start, end) in unix seconds, and the stream's name.

        Raises:
            BadRequest: when the window is empty.
            NotFound: when nothing of it was recorded.
        """
        stream = self._row(stream_id)
        first, last = math.floor(start), math.ceil(end)
        if first >= last:
            raise BadRequest("end must be after start")
        if not self.segments_between(stream_id, first, last):
            raise NotFound("Nothing was recorded between start and end")
        return manifest_path(stream_id, start, end), stream["name"]

    def live(self) -> list[LiveStream]:
        """Return what is connected now, the newest first."""
        rows = self._store.all(
            "SELECT streams.*, started_at, "
            "(SELECT sum(duration_s) FROM segments WHERE recording_id = recordings.id) AS recorded_s, "
            "EXISTS (SELECT 1 FROM segments WHERE recording_id = recordings.id AND has_video) AS has_picture "
            "FROM streams JOIN recordings ON stream_id = streams.id AND ended_at IS NULL "
            "ORDER BY streams.created_at DESC LIMIT ?",
            MAX_LIVE_SHOWN,
        )
        return [
            LiveStream(
                id=row["id"],
                name=row["name"],
                status_message=row["status_message"],
                started_at=row["started_at"],
                recorded_s=row["recorded_s"] or 0.0,
                has_picture=bool(row["has_picture"]),
            )
            for row in rows
        ]

    def latest_picture(self, stream_id: str) -> Path:
        """Return the latest segment of a stream that holds pictures.

        Raises:
            NotFound: when there is none.
        """
        row = self._store.one(
            "SELECT path FROM segments JOIN recordings ON recordings.id = recording_id "
            "WHERE stream_id = ? AND has_video ORDER BY segments.id DESC LIMIT 1",
            stream_id,
        )
        if row is None:
            raise NotFound("No picture was recorded")
        return self._store.path(row["path"])

    # --- media --------------------------------------------------------------------------------------------------------

    def segments(self, stream_id: str) -> Sequence[Segment]:
        """Return everything recorded of a stream that is still there, in the order of recording."""
        rows = self._store.all(
            "SELECT segments.* FROM segments JOIN recordings ON recordings.id = recording_id WHERE stream_id = ? "
            # Not by the clock, which may have been set back in between.
            "ORDER BY segments.id",
            stream_id,
        )
        return self._segments(rows)

    def window(self, stream_id: str, start: float, end: float, *, now: float | None = None) -> Listing:
        """Return what the playlist of the half-open window from `start` to `end`, in unix seconds, lists now.

        From one call to the next it changes as RFC 8216, 6.2.1, allows: it grows until nothing can come any more. Of a
        stream that is not stored it loses what is older than `LIVE_WINDOW_S`.

        Raises:
            NotFound: when nothing of it is there (any more).
        """
        with self._store.transaction():
            stored = bool(self._row(stream_id)["store"])
            recorded = self.segments(stream_id)
            dropped = self._dropped(stream_id)
            now = time.time() if now is None else now
            is_over = (recorded and recorded[-1].wall_end >= end) or now > end + WINDOW_GRACE_S
            ended = bool(is_over) or not self.is_recording(stream_id)
        oldest = -math.inf if stored else min(now, end) - LIVE_WINDOW_S
        first = next((i for i, each in enumerate(recorded) if each.wall_end > max(start, oldest)), len(recorded))
        listed = window(recorded[first:], start, end)
        if not listed or (ended and dropped["end_at"] > max(start, oldest)):
            raise NotFound("Nothing was recorded between start and end, or it is not kept any more")
        if stored:
            return Listing(listed, "EVENT", ended)
        before_run, before_end = dropped["run"], dropped["end_at"]
        if first:
            before_run, before_end = recorded[first - 1].run, recorded[first - 1].wall_end
        run = listed[0].run
        follows = before_end > start and before_run != run
        return Listing(listed, None, ended, dropped["segments"] + first, run - follows, follows)

    def _dropped(self, stream_id: str) -> dict[str, Any]:
        """Return how many segments of a stream are gone, and run and end of the last of them."""
        row = self._store.one("SELECT * FROM dropped_segments WHERE stream_id = ?", stream_id)
        return dict(row) if row else {"segments": 0, "run": -1, "end_at": -math.inf}

    def segments_between(self, stream_id: str, start: float, end: float) -> Sequence[Segment]:
        """Return what overlaps the half-open window from `start` to `end`, in unix seconds."""
        rows = self._store.all(
            "SELECT segments.* FROM segments JOIN recordings ON recordings.id = recording_id WHERE stream_id = ? "
            "AND wall_start < ? AND wall_start + duration_s > ? ORDER BY segments.id",
            *(stream_id, end, start),
        )
        return self._segments(rows)

    def segments_after(self, stream_id: str, number: int) -> list[tuple[int, Segment]]:
        """Return what was recorded after a segment's number, each with its own."""
        rows = self._store.all(
            "SELECT segments.* FROM segments JOIN recordings ON recordings.id = recording_id "
            "WHERE stream_id = ? AND segments.id > ? ORDER BY segments.id",
            *(stream_id, number),
        )
        return list(zip((int(row["id"]) for row in rows), self._segments(rows), strict=True))

    def last_segment(self) -> int:
        """Return the number of the last segment of any stream: what comes is greater."""
        row = self._store.one("SELECT seq FROM sqlite_sequence WHERE name = 'segments'")
        return int(row["seq"]) if row else 0

    def recorded_until(self, stream_id: str, after: float) -> float:
        """Return the end of the latest segment that ends after a moment, in unix seconds, or that moment."""
        row = self._store.one(
            "SELECT max(wall_start + duration_s) AS until FROM segments "
            "JOIN recordings ON recordings.id = recording_id WHERE stream_id = ? AND wall_start + duration_s > ?",
            *(stream_id, after),
        )
        return float(row["until"]) if row and row["until"] is not None else after

    def recording_segments(self, recording_id: int) -> Sequence[Segment]:
        """Return the segments of one recording, in the order of recording."""
        rows = self._store.all("SELECT * FROM segments WHERE recording_id = ? ORDER BY id", recording_id)
        return self._segments(rows)

    def is_live(self, stream_id: str) -> bool:
        """Say whether more may still be recorded."""
        return bool(self._row(stream_id)["status"] == "connected")

    def is_recording(self, stream_id: str) -> bool:
        """Say whether more will be recorded, be it only what was under way when the stream was stopped."""
        query = "SELECT 1 FROM recordings WHERE stream_id = ? AND ended_at IS NULL"
        return self._store.one(query, stream_id) is not None

    def segment_file(self, recording: str, name: str) -> Path:
        """Return the file that a playlist names.

        Raises:
            NotFound: when no playlist names it (any more).
        """
        row = self._store.one("SELECT path FROM segments WHERE path = ?", f"recordings/{recording}/{name}")
        if row is None:
            raise NotFound("No such segment")
        return self._store.path(row["path"])

    # --- recording ----------------------------------------------------------------------------------------------------

    def _folder(self, stream_id: str, recording_id: int) -> Path:
        # The stream's id makes the public address of a segment unguessable.
        return self._store.path(f"recordings/{stream_id}.{recording_id}")

    def _record(self, stream_id: str, recording_id: int) -> None:
        """Start the recorder of an open recording, in a run of its own."""
        if self._closing.is_set():
            return  # the next server goes on
        stream = self._row(stream_id)
        # Runs count through all recordings of a stream, so that a window over two of them shows its seam.
        last = self._store.one(
            "SELECT max(run) AS run FROM segments JOIN recordings ON recordings.id = recording_id WHERE stream_id = ?",
            stream_id,
        )
        kept_run = last["run"] if last and last["run"] is not None else -1
        first_run = max(kept_run, self._dropped(stream_id)["run"]) + 1
        folder = self._folder(stream_id, recording_id)
        folder.mkdir(parents=True, exist_ok=True)
        media_types: frozenset[MediaType] = frozenset(json.loads(stream["media_types"]))
        recorder = Recorder(
            stream["url"],
            folder,
            media_types=media_types,
            on_segment=self.keep(recording_id, stored=bool(stream["store"])),
            on_state=self._follow(stream_id, recording_id),
            first_run=first_run,
        )
        self._live[stream_id] = recorder
        recorder.start()

    def keep(self, recording_id: int, *, stored: bool) -> Callable[[Segment], None]:
        """Return what keeps each segment that a recorder announces."""

        def keep(segment: Segment) -> None:
            self._store.execute(
                "INSERT INTO segments (recording_id, path, wall_start, duration_s, run, has_video, has_audio) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(recording_id, self._store.relative(segment.path), segment.wall_start, segment.duration_s),
                *(segment.run, segment.has_video, segment.has_audio),
            )
            if not stored:
                self._forget(recording_id, before=segment.wall_start - KEPT_S)

        return keep

    def _forget(self, recording_id: int, *, before: float) -> None:
        """Remove what is too old to be played of a recording that is not stored, in the order in which it came."""
        with self._store.transaction():
            old = self._store.all(
                "SELECT segments.id, path, run, wall_start + duration_s AS end_at, stream_id FROM segments "
                "JOIN recordings ON recordings.id = recording_id WHERE recording_id = ?1 AND segments.id <= "
                "(SELECT max(id) FROM segments WHERE recording_id = ?1 AND wall_start < ?2) ORDER BY segments.id",
                *(recording_id, before),
            )
            if not old:
                return
            last = old[-1]
            self._store.execute(
                "INSERT INTO dropped_segments VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "segments = segments + excluded.segments, run = excluded.run, end_at = excluded.end_at",
                *(last["stream_id"], len(old), last["run"], last["end_at"]),
            )
            for row in old:
                self._store.execute("DELETE FROM segments WHERE id = ?", row["id"])
        for row in old:
            self._store.path(row["path"]).unlink(missing_ok=True)

    def _follow(self, stream_id: str, recording_id: int) -> Callable[[RecorderState, str], None]:
        def follow(state: RecorderState, message: str) -> None:
            if self._closing.is_set():
                return  # the next server goes on
            with self._store.transaction():
                # A message that arrives after a stop, or from an earlier recording, no longer concerns the stream.
                current = self._store.one(
                    "SELECT 1 FROM recordings JOIN streams ON streams.id = stream_id "
                    "WHERE recordings.id = ? AND ended_at IS NULL AND status = 'connected'",
                    recording_id,
                )
                if current is None:
                    return
                if state in {RecorderState.FAILED, RecorderState.STOPPED}:
                    # Nobody stopped it, that would have changed the status before: it failed, or its source ended.
                    status = "error" if state is RecorderState.FAILED else "stopped"
                    self._set_status(stream_id, status, message)
                    self._close_recording(stream_id)
                else:
                    self._set_status(stream_id, "connected", message)

        return follow

    def _open_recording(self, stream_id: str, now: float) -> int:
        return self._store.insert("INSERT INTO recordings (stream_id, started_at) VALUES (?, ?)", stream_id, now)

    def _close_recording(self, stream_id: str) -> None:
        row = self._store.one("SELECT id FROM recordings WHERE stream_id = ? AND ended_at IS NULL", stream_id)
        if row is None:
            return
        self._store.execute("UPDATE recordings SET ended_at = ? WHERE id = ?", time.time(), row["id"])
        if not self._row(stream_id)["store"]:
            self._forget(row["id"], before=math.inf)

    def _set_status(self, stream_id: str, status: str, message: str) -> None:
        self._store.execute(
            "UPDATE streams SET status = ?, status_message = ? WHERE id = ?", status, message, stream_id
        )

    def _row(self, stream_id: str) -> sqlite3.Row:
        row = self._store.one("SELECT * FROM streams WHERE id = ?", stream_id)
        if row is None:
            raise NotFound(f"RTStream with id {stream_id} not found")
        return row

    def _segments(self, rows: Sequence[sqlite3.Row]) -> list[Segment]:
        return [
            Segment(
                path=self._store.path(row["path"]),
                wall_start=row["wall_start"],
                duration_s=row["duration_s"],
                run=row["run"],
                has_video=bool(row["has_video"]),
                has_audio=bool(row["has_audio"]),
            )
            for row in rows
        ]

    def _remove_unknown_files(self) -> None:
        """Remove the segments that were being written when the server was killed: incomplete, and known to no row."""
        known = {row["path"] for row in self._store.all("SELECT path FROM segments")}
        for folder in self._store.path("recordings").glob("*/"):
            for file in folder.iterdir():
                if self._store.relative(file) not in known:
                    file.unlink()
            with suppress(OSError):  # not empty: it holds segments
                folder.rmdir()


def manifest_path(stream_id: str, start: float, end: float) -> str:
    """Return the path of the playlist of a window, in unix seconds; it is widened to whole ones."""
    return f"/manifests/{stream_id}/{math.floor(start) * 1_000_000}-{math.ceil(end) * 1_000_000}.m3u8"


def check_source(url: str) -> str:
    """Return a source's URL as it is opened. FFmpeg knows many kinds that reach into this machine; they are refused.

    Raises:
        BadRequest: with what is accepted.
    """
    try:
        return urls.read(url, urls.SOURCES).geturl()
    except urls.BadUrl as bad:
        accepted = "rtsp://host/path, or file:///absolute/path of a media file of this machine"
        raise BadRequest(f"url: {bad}; it looks like {accepted}") from None


def _described(row: sqlite3.Row) -> dict[str, Any]:
    """Describe a stream for an answer: without its URL, which holds passwords and stream keys."""
    return {
        "id": row["id"],
        "name": row["name"],
        "collection_id": row["collection_id"],
        "status": row["status"],
        "status_message": row["status_message"],
        "sample_rate": row["sample_rate"],
        "media_types": json.loads(row["media_types"]),
        "store": bool(row["store"]),
        "created_at": datetime.fromtimestamp(row["created_at"], UTC).isoformat(),
    }
