"""Meeting bots. From here none can join a meeting: it records the sample meeting, or the stream that it is given."""

import json
import sqlite3
import time
from typing import Any

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.deliveries import Deliveries
from prefect_videodb.local_server.errors import ApiError, NotFound, Unsupported
from prefect_videodb.local_server.jobs import JobRun, Jobs
from prefect_videodb.local_server.media.errors import MediaError
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Streams, check_source
from prefect_videodb.local_server.videos import Videos

# So long is a meeting here.
MEETING_S = 15.0
LOOK_S = 0.2
MEDIA_SCHEMES = {"rtsp", "rtsps", "rtmp", "rtmps", "file"}


class Meetings:
    """The recordings by bots of one server."""

    def __init__(
        self,
        store: Store,
        *,
        streams: Streams,
        videos: Videos,
        jobs: Jobs,
        deliveries: Deliveries,
        sample_url: str | None,
    ) -> None:
        self._store = store
        self._streams = streams
        self._videos = videos
        self._jobs = jobs
        self._deliveries = deliveries
        self._sample_url = sample_url
        jobs.register("meeting", self._record, "meetings")

    def record(self, collection_id: str, request: dict[str, Any], base_url: str) -> dict[str, Any]:
        """Send a bot into a meeting.

        Raises:
            BadRequest: for the address of a stream that is none.
            Unsupported: when this server runs without the sample meeting, and the address is no stream.
        """
        self._source(request["meeting_url"])
        meeting_id = ids.meeting_id()
        self._store.execute(
            "INSERT INTO meetings VALUES (?, ?, ?, ?, 'initializing', NULL, NULL, NULL, ?)",
            *(meeting_id, collection_id, json.dumps(request), base_url, time.time()),
        )
        self._jobs.submit("meeting", meeting_id, {"meeting_id": meeting_id})
        return self.get(meeting_id)

    def get(self, meeting_id: str, collection_id: str | None = None) -> dict[str, Any]:
        """Return how far the recording of a meeting is.

        Raises:
            NotFound: when there is none with this id.
        """
        return _described(self._row(meeting_id, collection_id))

    def of_video(self, video_id: str) -> dict[str, Any] | None:
        """Return the meeting that a video is of, or None."""
        row = self._store.one("SELECT * FROM meetings WHERE video_id = ?", video_id)
        return _described(row) if row else None

    def _source(self, meeting_url: str) -> str:
        if meeting_url.strip().partition(":")[0].lower() in MEDIA_SCHEMES:
            return check_source(meeting_url)
        if self._sample_url is None:
            raise Unsupported("A meeting is played by the sample meeting, and this server was started without it")
        return self._sample_url

    def _record(self, run: JobRun, arguments: dict[str, Any]) -> dict[str, Any]:
        """Record, stop, export. Begun again after a kill it goes on with the stream that it had."""
        meeting_id = arguments["meeting_id"]
        try:
            video_id = self._video(run, meeting_id)
        except (ApiError, MediaError) as error:
            self._store.execute(
                "UPDATE meetings SET status = 'failed', message = ? WHERE id = ?", str(error), meeting_id
            )
            raise
        with self._store.transaction():
            self._store.execute("UPDATE meetings SET status = 'done', video_id = ? WHERE id = ?", video_id, meeting_id)
            request = json.loads(self._row(meeting_id)["request"])
            if request["callback_url"]:
                # As at the service it names the video, not the meeting: that is what callback_data is for.
                body = {"success": True, "status": "done", "data": {"video_id": video_id, **request["callback_data"]}}
                self._deliveries.add(f"meeting {meeting_id}", request["callback_url"], body)
        self._deliveries.send()
        return {"meeting_id": meeting_id}

    def _video(self, run: JobRun, meeting_id: str) -> str:
        row = self._row(meeting_id)
        request = json.loads(row["request"])
        stream_id = row["stream_id"] or self._join(row, request)
        deadline = time.monotonic() + MEETING_S
        while time.monotonic() < deadline and self._streams.is_live(stream_id):
            recorded_s = sum(segment.duration_s for segment in self._streams.segments(stream_id))
            run.progress(0.9 * recorded_s / MEETING_S)
            if recorded_s:
                self._store.execute("UPDATE meetings SET status = 'recording' WHERE id = ?", meeting_id)
            run.closing.wait(LOOK_S)
        self._streams.stop(stream_id)
        self._store.execute("UPDATE meetings SET status = 'processing' WHERE id = ?", meeting_id)
        recording = self._streams.latest_recording(stream_id)
        exported = self._videos.export_now(run, recording, request["meeting_title"])
        return str(exported["video_id"])

    def _join(self, row: sqlite3.Row, request: dict[str, Any]) -> str:
        with self._store.transaction():
            stream = self._streams.connect(
                url=self._source(request["meeting_url"]),
                name=request["meeting_title"] or "Meeting",
                collection_id=row["collection_id"],
                media_types=["audio", "video"],
                store=True,
                sample_rate=None,
            )
            self._store.execute(
                "UPDATE meetings SET stream_id = ?, status = 'joined' WHERE id = ?", stream["id"], row["id"]
            )
        return str(stream["id"])

    def _row(self, meeting_id: str, collection_id: str | None = None) -> sqlite3.Row:
        row = self._store.one(
            "SELECT * FROM meetings WHERE id = ?1 AND (?2 IS NULL OR collection_id = ?2)", meeting_id, collection_id
        )
        if row is None:
            raise NotFound(f"Meeting with id {meeting_id} not found")
        return row


def _described(row: sqlite3.Row) -> dict[str, Any]:
    request = json.loads(row["request"])
    return {
        "meeting_id": row["id"],
        "status": row["status"],
        "bot_name": request["bot_name"],
        "meeting_title": request["meeting_title"],
        "meeting_url": request["meeting_url"],
        "time_zone": request["time_zone"],
        "video_id": row["video_id"],
        "speaker_timeline": None,
        **({"message": row["message"]} if row["message"] else {}),
    }
