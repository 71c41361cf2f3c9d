"""What is said in a live stream: listened to once, whoever wants it."""

import json
import logging
import sqlite3
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from prefect_videodb.local_server.errors import ApiError, BadRequest
from prefect_videodb.local_server.jobs import log_defect
from prefect_videodb.local_server.live.hub import Hub
from prefect_videodb.local_server.media.errors import BadMedia, MediaError
from prefect_videodb.local_server.media.segments import Segment
from prefect_videodb.local_server.media.sound import RATE, pcm
from prefect_videodb.local_server.speech import SpeechEngine, SpeechError, Utterance
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Streams

logger = logging.getLogger(__name__)

# How often is looked whether more was recorded.
LOOK_S = 0.25
# A hole in the sound ends an utterance; the recognizer is given a second of silence instead of it.
HOLE_S = 0.3
SILENCE = bytes(RATE * 2)
# An utterance heard again after a restart begins when the first time, give or take a frame.
SAME_S = 0.2


class Transcriptions:
    """The transcripts of live streams that callers asked for."""

    def __init__(self, store: Store, streams: Streams, hub: Hub, engine_name: str) -> None:
        self._store = store
        self._streams = streams
        self._hub = hub
        self._engine_name = engine_name

    def start(self, stream_id: str, *, ws_connection_id: str | None) -> dict[str, Any]:
        """Transcribe a stream from now on. One that is transcribed already goes on, for the new connection.

        Raises:
            BadRequest: when it is connected without sound.
        """
        if "audio" not in self._streams.get(stream_id)["media_types"]:
            raise BadRequest("The RTStream is connected without audio: name it in media_types")
        now = time.time()
        self._store.execute(
            "INSERT INTO transcriptions VALUES (?1, ?2, ?3, 'running', ?4, ?4, ?4) ON CONFLICT (stream_id) DO UPDATE "
            "SET ws_connection_id = coalesce(?3, ws_connection_id), updated_at = ?4, status = 'running', "
            "since = CASE status WHEN 'running' THEN since ELSE ?4 END",
            *(stream_id, self._engine_name, ws_connection_id, now),
        )
        return self.status(stream_id)

    def stop(self, stream_id: str) -> dict[str, Any]:
        """Transcribe a stream no more; what was said stays."""
        self._store.execute(
            "UPDATE transcriptions SET status = 'stopped', updated_at = ? WHERE stream_id = ?",
            *(time.time(), self._streams.get(stream_id)["id"]),
        )
        return self.status(stream_id)

    def status(self, stream_id: str) -> dict[str, Any]:
        """Say whether a stream is transcribed."""
        row = self._store.one("SELECT * FROM transcriptions WHERE stream_id = ?", self._streams.get(stream_id)["id"])
        if row is None:
            return {"status": "not_configured", "engine": self._engine_name}
        return {
            "status": row["status"],
            "engine": row["engine"],
            "language": "en",
            "created_at": _iso(row["created_at"]),
            "updated_at": _iso(row["updated_at"]),
        }

    def page(
        self, stream_id: str, *, start: float | None, end: float | None, since: float | None, page: int, page_size: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return one page of a transcript, in the order of speaking, and how many records there are on all pages.

        `start` and `end` choose what overlaps them, `since` what ended after it; unix seconds.
        """
        where = (
            "FROM utterances WHERE stream_id = ?1 AND in_transcript AND (?2 IS NULL OR end_at > ?2) "
            "AND (?3 IS NULL OR start_at < ?3) AND (?4 IS NULL OR end_at > ?4)"
        )
        values = (self._streams.get(stream_id)["id"], start, end, since)
        with self._store.transaction():
            count = self._store.all(f"SELECT count(*) AS n {where}", *values)[0]["n"]
            rows = self._store.all(
                f"SELECT * {where} ORDER BY id LIMIT ?5 OFFSET ?6",
                *(*values, page_size, (page - 1) * page_size),
            )
        return [_record(row) for row in rows], count

    def streams(self) -> list[str]:
        """Return the streams that are transcribed now."""
        rows = self._store.all("SELECT stream_id FROM transcriptions WHERE status = 'running'")
        return [row["stream_id"] for row in rows]

    def fail(self, stream_id: str) -> None:
        """Note that a stream cannot be listened to."""
        self._store.execute(
            "UPDATE transcriptions SET status = 'failed', updated_at = ? WHERE stream_id = ? AND status = 'running'",
            *(time.time(), stream_id),
        )

    def takes(self, stream_id: str, start: float) -> bool:
        """Say whether what is said at a moment belongs into the transcript."""
        query = "SELECT 1 FROM transcriptions WHERE stream_id = ? AND status = 'running' AND since <= ?"
        return self._store.one(query, stream_id, start) is not None

    def tell(self, stream_id: str, start: float, end: float, text: str) -> None:
        """Send what was said to who listens on the WebSocket."""
        row = self._store.one("SELECT ws_connection_id FROM transcriptions WHERE stream_id = ?", stream_id)
        if row and row["ws_connection_id"]:
            data = {"text": text, "start": round(start * 1000), "end": round(end * 1000), "is_final": True}
            frame = {
                "channel": "transcript",
                "rtstream_id": stream_id,
                "rtstream_name": self._streams.get(stream_id)["name"],
                "data": data,
            }
            self._hub.send(row["ws_connection_id"], frame)


class Listener:
    """Listens to one stream, in a thread, until it is stopped or the stream is and everything was heard.

    It reads what the recorder has finished, so it disturbs no recording and goes on after a restart: with the segment
    in which the last utterance ended. What is heard a second time is known by its time.
    """

    def __init__(
        self, store: Store, *, streams: Streams, transcriptions: Transcriptions, engine: SpeechEngine, stream_id: str
    ) -> None:
        self._store = store
        self._streams = streams
        self._transcriptions = transcriptions
        self._engine = engine
        self._stream_id = stream_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"videodb-listener-{stream_id}")
        self._places: list[tuple[float, float, int]] = []
        """Where a segment begins in what is heard, in seconds; the same in unix seconds; the segment's number."""
        self.heard_until = 0.0
        """Unix seconds: all that was said before was kept."""
        self.finished = False
        """Whether the stream is stopped and everything was heard."""
        self.failed = False

    def start(self) -> None:
        """Begin to listen."""
        self._store.execute(
            "INSERT OR IGNORE INTO listening VALUES (?, ?)", self._stream_id, self._streams.last_segment()
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop to listen, and wait for it."""
        self._stop.set()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether it still listens."""
        return self._thread.is_alive()

    def forget(self) -> None:
        """Let the next listener of this stream begin with what is recorded then."""
        self._store.execute("DELETE FROM listening WHERE stream_id = ?", self._stream_id)

    def has_work(self) -> bool:
        """Say whether there is something to hear, or will be."""
        row = self._store.one("SELECT segment_id FROM listening WHERE stream_id = ?", self._stream_id)
        unheard = row is not None and self._streams.segments_after(self._stream_id, row["segment_id"])
        return bool(unheard) or self._streams.is_recording(self._stream_id)

    def _run(self) -> None:
        try:
            self._listen()
        except _Stopped:
            return
        except (SpeechError, ApiError, MediaError) as error:
            logger.warning("stream %s is no longer listened to: %s", self._stream_id, error)
            self.failed = True
        except Exception as error:  # noqa: BLE001 - the thread's end: what failed is noted, and the log says where
            log_defect(logger, f"listening to stream {self._stream_id}", error)
            self.failed = True
        else:
            self.finished = not self._stop.is_set()

    def _listen(self) -> None:
        """Listen to the end. An engine that fails is begun anew, unless it heard nothing since the last time."""
        while True:
            heard_until = self.heard_until
            try:
                for utterance in self._engine.transcribe(self._sound, on_progress=self._heard):
                    self._keep(utterance)
            except SpeechError:
                if self.heard_until == heard_until:
                    raise
            else:
                break
        if self._places and not self._stop.is_set():
            self._store.execute(
                "UPDATE listening SET segment_id = max(segment_id, ?) WHERE stream_id = ?",
                *(self._places[-1][2], self._stream_id),
            )

    def _sound(self) -> Iterator[bytes]:
        """Yield the sound of the stream as it is recorded, from where listening is to begin."""
        row = self._store.one("SELECT segment_id FROM listening WHERE stream_id = ?", self._stream_id)
        last = int(row["segment_id"]) if row else self._streams.last_segment()
        fed_s, wall_end = 0.0, None
        self._places = []
        while not self._stop.is_set():
            more = self._streams.is_recording(self._stream_id)
            segments = self._streams.segments_after(self._stream_id, last)
            for number, segment in segments:
                last = number
                if wall_end is not None and abs(segment.wall_start - wall_end) > HOLE_S:
                    yield SILENCE
                    fed_s += len(SILENCE) / (RATE * 2)
                self._places.append((fed_s, segment.wall_start, number))
                for chunk in _sound_of(segment):
                    yield chunk
                    fed_s += len(chunk) / (RATE * 2)
                    if self._stop.is_set():
                        return
                wall_end = segment.wall_end
            if not segments:
                if not more:
                    return
                self._stop.wait(LOOK_S)

    def _heard(self, heard_s: float) -> None:
        if self._stop.is_set():
            raise _Stopped
        if self._places and heard_s > 0:
            self.heard_until = max(self.heard_until, self._place(heard_s)[0])

    def _place(self, heard_s: float) -> tuple[float, int]:
        """Return the unix seconds of a moment in what is heard, and the number of its segment."""
        begins_s, wall_start, number = self._places[max(0, bisect_right(self._places, (heard_s, float("inf"), 0)) - 1)]
        return wall_start + heard_s - begins_s, number

    def _keep(self, utterance: Utterance) -> None:
        words = [(word.text, self._place(word.start_s)[0], self._place(word.end_s)[0]) for word in utterance]
        start, end = words[0][1], words[-1][2]
        text = " ".join(word for word, _, _ in words)
        _, segment = self._place(utterance[-1].end_s)
        with self._store.transaction():
            known = self._store.one(
                "SELECT 1 FROM utterances WHERE stream_id = ? AND end_at > ? AND start_at < ?",
                *(self._stream_id, start + SAME_S, end - SAME_S),
            )
            if known:
                return
            in_transcript = self._transcriptions.takes(self._stream_id, start)
            self._store.execute(
                "INSERT INTO utterances (stream_id, start_at, end_at, text, words, in_transcript) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                *(self._stream_id, start, end, text, json.dumps(words), in_transcript),
            )
            # The segment itself may hold the beginning of what is said next.
            self._store.execute(
                "UPDATE listening SET segment_id = max(segment_id, ?) WHERE stream_id = ?", segment - 1, self._stream_id
            )
        if in_transcript:
            self._transcriptions.tell(self._stream_id, start, end, text)


def _sound_of(segment: Segment) -> Iterator[bytes]:
    """Yield the sound of a segment; of one that is gone, as its stream is not stored, nothing."""
    if not segment.has_audio:
        return
    try:
        yield from pcm(segment.path)
    except BadMedia:
        if segment.path.is_file():
            raise


class _Stopped(Exception):
    """The listener was stopped."""


def _record(row: sqlite3.Row) -> dict[str, Any]:
    words = [{"text": text, "start": start, "end": end} for text, start, end in json.loads(row["words"])]
    return {"start": row["start_at"], "end": row["end_at"], "text": row["text"], "word_timestamps": words}


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
