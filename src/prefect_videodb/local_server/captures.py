"""Capture sessions: what a desktop client captures. Here the sample meeting stands for the user's screen and sound."""

import hmac
import json
import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.deliveries import Deliveries
from prefect_videodb.local_server.errors import ApiError, BadRequest, NotFound, Unsupported
from prefect_videodb.local_server.jobs import JobRun, Jobs
from prefect_videodb.local_server.links import absolute
from prefect_videodb.local_server.live.hub import Hub
from prefect_videodb.local_server.media.segments import MediaType
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Streams
from prefect_videodb.local_server.videos import Videos

logger = logging.getLogger(__name__)

# How long one request to export waits for the video.
GRACE_S = 1.0
# How often the export of a session that has ended is looked at.
LOOK_S = 0.2

Status = Literal["created", "starting", "active", "stopping", "stopped", "exported", "failed"]


# What is kept with a channel, and shown elsewhere.
_OURS = {"rtstream_id", "exported_video_id"}
_EXPORT = ("exported_video_id", "stream_url", "player_url")
_EXPORT_STATUSES = {"exported": "exported", "failed": "failed"}
# A number of as many digits is no second that comes.
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Channel:
    """What a session captures."""

    channel_id: str
    name: str
    type: MediaType
    store: bool
    is_primary: bool
    rtstream_id: str | None = None


class Captures:
    """The capture sessions of one server."""

    def __init__(
        self,
        store: Store,
        *,
        streams: Streams,
        videos: Videos,
        jobs: Jobs,
        deliveries: Deliveries,
        hub: Hub,
        secret: bytes,
        sample_url: str | None,
    ) -> None:
        self._store = store
        self._streams = streams
        self._videos = videos
        self._jobs = jobs
        self._deliveries = deliveries
        self._hub = hub
        self._secret = secret
        self._sample_url = sample_url
        jobs.register("capture_export", self._export, "meetings")

    def create(
        self,
        collection_id: str,
        *,
        end_user_id: str,
        callback_url: str | None,
        ws_connection_id: str | None,
        metadata: dict[str, Any],
    ) -> dict[str, Any]:
        """Create a session, for a client to start."""
        session_id = ids.capture_session_id()
        with self._store.transaction():
            self._store.execute(
                "INSERT INTO capture_sessions VALUES (?, ?, ?, ?, ?, ?, 'created', '[]', ?)",
                *(session_id, collection_id, end_user_id, callback_url, ws_connection_id, json.dumps(metadata)),
                time.time(),
            )
            self._announce(session_id, "created")
        self._deliveries.send()
        return self.get(session_id)

    def get(self, session_id: str, collection_id: str | None = None) -> dict[str, Any]:
        """Return a session as the service describes it; its streams are there once it is active.

        Raises:
            NotFound: when there is none with this id.
        """
        return self._described(self._row(session_id, collection_id))

    def of_collection(self, collection_id: str, status: str | None) -> list[dict[str, Any]]:
        """Return the sessions of a collection, the newest first."""
        rows = self._store.all(
            "SELECT * FROM capture_sessions WHERE collection_id = ?1 AND (?2 IS NULL OR status = ?2) "
            "ORDER BY created_at DESC, id DESC",
            *(collection_id, status),
        )
        # The Node SDK reads `id` in a list; the Python SDK fails where a new session has it.
        return [{"id": row["id"], **self._described(row)} for row in rows]

    def start(self, session_id: str, channels: Sequence[Channel]) -> dict[str, Any]:
        """Capture: connect a stream for each channel.

        Raises:
            BadRequest: when the session was started before, or two channels have one id.
            Unsupported: when this server runs without the sample meeting, and has nothing to capture.
        """
        if self._sample_url is None:
            raise Unsupported("Capturing needs the sample meeting, and this server was started without it")
        row = self._row(session_id)
        if len({channel.channel_id for channel in channels}) < len(channels):
            raise BadRequest("channels: each needs a channel_id of its own")
        if not self._become(session_id, "starting", of=("created",)):
            raise BadRequest(f"The capture session is {row['status']}: only a created one can be started")
        connected = []
        for channel in channels:
            # Together: killed in between, the session knows the streams that it has to stop.
            with self._store.transaction():
                stream = self._streams.connect(
                    url=self._sample_url,
                    name=channel.name,
                    collection_id=row["collection_id"],
                    media_types=[channel.type],
                    store=channel.store,
                    sample_rate=None,
                )
                connected.append({**asdict(channel), "rtstream_id": stream["id"]})
                self._store.execute(
                    "UPDATE capture_sessions SET channels = ? WHERE id = ?", json.dumps(connected), session_id
                )
        self._become(session_id, "active", of=("starting",))
        return self.get(session_id)

    def stop(self, session_id: str, base_url: str) -> dict[str, Any]:
        """Capture no more, and begin to export what was seen. Stopping a session twice changes nothing.

        Args:
            session_id: the session.
            base_url: where this server is reached, for the links to the exported video.

        Raises:
            BadRequest: when it was never started.
        """
        row = self._row(session_id)
        if row["status"] == "created":
            raise BadRequest("The capture session was not started")
        if self._become(session_id, "stopping", of=("starting", "active", "stopping")):
            for channel in json.loads(row["channels"]):
                self._streams.stop(channel["rtstream_id"])
            with self._store.transaction():
                self._become(session_id, "stopped", of=("stopping",))
                if _video_channels(self._row(session_id)):
                    arguments = {"session_id": session_id, "base_url": base_url}
                    self._jobs.submit("capture_export", session_id, arguments)
        return self.get(session_id)

    def export(self, session_id: str, collection_id: str, channel_id: str | None, base_url: str) -> dict[str, Any]:
        """Make a video of a channel with pictures, or tell how far that is.

        Raises:
            BadRequest: when the session is not stopped, or has no such channel.
        """
        row = self._row(session_id, collection_id)
        if row["status"] not in {"stopped", "exported", "failed"}:
            raise BadRequest(f"The capture session is {row['status']}: stop it first")
        chosen = [channel for channel in _video_channels(row) if channel_id in {None, channel["channel_id"]}]
        if not chosen:
            raise BadRequest(f"The capture session has no video channel {channel_id or ''}".rstrip())
        channel = chosen[0]
        recording = self._streams.latest_recording(channel["rtstream_id"])
        # The same again is done at once when it was done before.
        job = self._jobs.wait(self._videos.export(recording, None), GRACE_S)
        status = {"processing": "exporting", "done": "exported", "failed": "failed"}[job.status]
        if job.status != "processing":
            self._note_export(session_id, channel["channel_id"], job.result, base_url)
        links = {key: job.result[key] for key in ("video_id", "stream_url", "player_url")} if job.result else {}
        return {
            "session_id": session_id,
            "video_channel_id": channel["channel_id"],
            "export_status": status,
            **({"exported_video_id": links["video_id"]} if links else {}),
            **links,
        }

    def token(self, expires_in: int) -> tuple[str, int]:
        """Return a token that is good wherever the key is, and the unix second at which it lapses."""
        expires_at = int(time.time()) + expires_in
        return f"st-{expires_at}.{ids.slug(self._secret, 'capture', expires_at)}", expires_at

    def is_good_token(self, token: str) -> bool:
        """Return whether a text is a token of this server that has not lapsed."""
        expires, _, signature = token.removeprefix("st-").partition(".")
        if not (token.startswith("st-") and expires.isascii() and expires.isdecimal() and len(expires) < _DIGITS):
            return False
        expected = ids.slug(self._secret, "capture", int(expires))
        return hmac.compare_digest(expected.encode(), signature.encode()) and int(expires) > time.time()

    def _export(self, run: JobRun, arguments: dict[str, Any]) -> dict[str, Any]:
        """Export what the primary video channel of a stopped session has seen."""
        session_id = arguments["session_id"]
        channel = _video_channels(self._row(session_id))[0]
        try:
            recording = self._streams.latest_recording(channel["rtstream_id"])
            job_id = self._videos.export(recording, None)
            while (job := self._jobs.wait(job_id, LOOK_S)).status == "processing":
                run.progress(job.percentage / 100)
            result = job.result
        except ApiError as nothing:  # such as a session that was stopped before anything was seen
            logger.info("capture session %s is not exported: %s", session_id, nothing)
            result = None
        self._note_export(session_id, channel["channel_id"], result, arguments["base_url"])
        return {"session_id": session_id}

    def _note_export(self, session_id: str, channel_id: str, result: dict[str, Any] | None, base_url: str) -> None:
        """Note what the export of a channel came to, and announce it the first time."""
        with self._store.transaction():
            if result:
                channels = json.loads(self._row(session_id)["channels"])
                for channel in channels:
                    if channel["channel_id"] == channel_id:
                        channel["exported_video_id"] = result["video_id"]
                self._store.execute(
                    "UPDATE capture_sessions SET channels = ? WHERE id = ?", json.dumps(channels), session_id
                )
            self._become(session_id, "exported" if result else "failed", of=("stopped",), base_url=base_url)

    def _become(self, session_id: str, status: Status, *, of: Sequence[Status], base_url: str = "") -> bool:
        """Go on to a status and announce it, when the session has one of these; return whether it had."""
        with self._store.transaction():
            row = self._row(session_id)
            if row["status"] not in of:
                return False
            self._store.execute("UPDATE capture_sessions SET status = ? WHERE id = ?", status, session_id)
            if row["status"] != status:
                self._announce(session_id, status, base_url)
        self._deliveries.send()
        return True

    def _announce(self, session_id: str, status: Status, base_url: str = "") -> None:
        """Send a stage of a session to its webhook and WebSocket."""
        row = self._row(session_id)
        described = self._described(row)
        links = {key: described[key] for key in _EXPORT if status == "exported"}
        event = {
            "event": f"capture_session.{status}",
            "capture_session_id": session_id,
            "status": status,
            "data": {
                "channels": described["channels"],
                "rtstreams": described["rtstreams"],
                **absolute(links, base_url),
            },
        }
        if row["callback_url"]:
            extra = {"version": "2", "timestamp": _iso(time.time()), "end_user_id": row["end_user_id"]}
            self._deliveries.add(f"capture session {session_id}", row["callback_url"], {**event, **extra})
        self._hub.send(row["ws_connection_id"], {"channel": "capture_session", **event})

    def _row(self, session_id: str, collection_id: str | None = None) -> sqlite3.Row:
        row = self._store.one(
            "SELECT * FROM capture_sessions WHERE id = ?1 AND (?2 IS NULL OR collection_id = ?2)",
            *(session_id, collection_id),
        )
        if row is None:
            raise NotFound(f"Capture session with id {session_id} not found")
        return row

    def _described(self, row: sqlite3.Row) -> dict[str, Any]:
        channels = json.loads(row["channels"])
        primary = next((channel["channel_id"] for channel in channels if channel["is_primary"]), None)
        active = row["status"] not in {"created", "starting"}
        exporting = row["status"] == "stopped" and self._jobs.is_running("capture_export", row["id"])
        return {
            "session_id": row["id"],
            "collection_id": row["collection_id"],
            "end_user_id": row["end_user_id"],
            "status": row["status"],
            "callback_url": row["callback_url"],
            "metadata": json.loads(row["metadata"]),
            "channels": [{k: v for k, v in channel.items() if k not in _OURS} for channel in channels],
            "primary_video_channel_id": primary,
            "export_status": "exporting" if exporting else _EXPORT_STATUSES.get(row["status"]),
            **self._export_of(row),
            "rtstreams": [self._stream(channel) for channel in channels] if active else [],
            "created_at": _iso(row["created_at"]),
        }

    def _export_of(self, row: sqlite3.Row) -> dict[str, Any]:
        """Return the exported video of a session, as far as there is one and it was not deleted."""
        exported = [channel["exported_video_id"] for channel in _video_channels(row) if "exported_video_id" in channel]
        try:
            video = self._videos.described(self._videos.get(exported[0])) if exported else {}
        except NotFound:
            video = {}
        return {"exported_video_id": video.get("id"), **{key: video.get(key) for key in _EXPORT[1:]}}

    def _stream(self, channel: dict[str, Any]) -> dict[str, Any]:
        stream = self._streams.get(channel["rtstream_id"])
        return {
            "rtstream_id": stream["id"],
            "name": stream["name"],
            "channel_id": channel["channel_id"],
            "status": stream["status"],
            "media_types": stream["media_types"],
        }


def _video_channels(row: sqlite3.Row) -> list[dict[str, Any]]:
    """Return the channels of a session that have pictures, the primary one first."""
    videos = [channel for channel in json.loads(row["channels"]) if channel["type"] == "video"]
    return sorted(videos, key=lambda channel: not channel["is_primary"])


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
