"""Capture sessions: what a desktop client captures. Here the sample meeting stands for the user's screen and sound."""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.deliveries import Deliveries
from prefect_videodb.local_server.errors import BadRequest, NotFound, Unsupported
from prefect_videodb.local_server.jobs import Jobs
from prefect_videodb.local_server.live.hub import Hub
from prefect_videodb.local_server.media.segments import MediaType
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Streams
from prefect_videodb.local_server.videos import Videos

# How long one request to export waits for the video.
GRACE_S = 1.0

Status = Literal["created", "starting", "active", "stopping", "stopped", "exported", "failed"]


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
        return [self._described(row) for row in rows]

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

    def stop(self, session_id: str) -> dict[str, Any]:
        """Capture no more. Stopping a session twice changes nothing.

        Raises:
            BadRequest: when it was never started.
        """
        row = self._row(session_id)
        if row["status"] == "created":
            raise BadRequest("The capture session was not started")
        if self._become(session_id, "stopping", of=("starting", "active", "stopping")):
            for channel in json.loads(row["channels"]):
                self._streams.stop(channel["rtstream_id"])
            self._become(session_id, "stopped", of=("stopping",))
        return self.get(session_id)

    def export(self, session_id: str, collection_id: str, channel_id: str | None) -> dict[str, Any]:
        """Make a video of a channel with pictures, or tell how far that is.

        Raises:
            BadRequest: when the session is not stopped, or has no such channel.
        """
        row = self._row(session_id, collection_id)
        if row["status"] not in {"stopped", "exported", "failed"}:
            raise BadRequest(f"The capture session is {row['status']}: stop it first")
        videos = [channel for channel in json.loads(row["channels"]) if channel["type"] == "video"]
        chosen = [channel for channel in videos if channel_id in {None, channel["channel_id"]}]
        if not chosen:
            raise BadRequest(f"The capture session has no video channel {channel_id or ''}".rstrip())
        channel = max(chosen, key=lambda channel: bool(channel["is_primary"]))
        recording = self._streams.latest_recording(channel["rtstream_id"])
        # The same again is done at once when it was done before.
        job = self._jobs.wait(self._videos.export(recording, None), GRACE_S)
        status = {"processing": "exporting", "done": "exported", "failed": "failed"}[job.status]
        if status != "exporting":
            self._become(session_id, "exported" if status == "exported" else "failed", of=("stopped",))
        links = {key: job.result[key] for key in ("video_id", "stream_url", "player_url")} if job.result else {}
        return {
            "session_id": session_id,
            "video_channel_id": channel["channel_id"],
            "export_status": status,
            **links,
        }

    def token(self, expires_in: int) -> tuple[str, int]:
        """Return a capture client's token, and the unix second at which it lapses. Nothing here asks for it."""
        expires_at = int(time.time()) + expires_in
        return f"st-{ids.slug(self._secret, 'capture', expires_at)}", expires_at

    def _become(self, session_id: str, status: Status, *, of: Sequence[Status]) -> bool:
        """Go on to a status and tell it, when the session has one of these; say whether it had."""
        with self._store.transaction():
            row = self._row(session_id)
            if row["status"] not in of:
                return False
            self._store.execute("UPDATE capture_sessions SET status = ? WHERE id = ?", status, session_id)
            if row["status"] != status:
                self._announce(session_id, status)
        self._deliveries.send()
        return True

    def _announce(self, session_id: str, status: Status) -> None:
        row = self._row(session_id)
        event = {
            "event": f"capture_session.{status}",
            "capture_session_id": session_id,
            "status": status,
            "data": {"channels": json.loads(row["channels"])},
        }
        if row["callback_url"]:
            extra = {"version": 1, "timestamp": _iso(time.time()), "end_user_id": row["end_user_id"]}
            self._deliveries.add(f"capture session {session_id}", row["callback_url"], {**event, **extra})
        self._hub.send(row["ws_connection_id"], event)

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
        return {
            "session_id": row["id"],
            "collection_id": row["collection_id"],
            "end_user_id": row["end_user_id"],
            "status": row["status"],
            "callback_url": row["callback_url"],
            "metadata": json.loads(row["metadata"]),
            "channels": [{k: v for k, v in channel.items() if k != "rtstream_id"} for channel in channels],
            "primary_video_channel_id": primary,
            "rtstreams": [self._stream(channel) for channel in channels] if active else [],
            "created_at": _iso(row["created_at"]),
        }

    def _stream(self, channel: dict[str, Any]) -> dict[str, Any]:
        stream = self._streams.get(channel["rtstream_id"])
        return {
            "rtstream_id": stream["id"],
            "name": stream["name"],
            "channel_id": channel["channel_id"],
            "status": stream["status"],
            "media_types": stream["media_types"],
        }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
