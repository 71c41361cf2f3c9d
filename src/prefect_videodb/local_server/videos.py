"""Videos: what exports leave behind, as one file to cut from and as a stream to play."""

import shutil
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.errors import NotFound
from prefect_videodb.local_server.jobs import JobRun, Jobs
from prefect_videodb.local_server.media.export import export_mp4
from prefect_videodb.local_server.media.segments import Segment
from prefect_videodb.local_server.pages import Pages
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Recording, Streams

Kind = Literal["video", "audio"]


@dataclass(frozen=True, slots=True)
class Video:
    """One exported recording; without pictures it is what the service calls an audio asset."""

    id: str
    collection_id: str
    name: str
    recording_id: int
    path: str
    length_s: float
    size_bytes: int
    has_video: bool
    has_audio: bool
    slug: str
    created_at: float

    @property
    def kind(self) -> Kind:
        """Say under which of the API's two roots it is found."""
        return "video" if self.has_video else "audio"

    @property
    def stream_path(self) -> str:
        """The path of its playlist."""
        return f"/videos/{self.slug}/index.m3u8"


class Videos:
    """The videos of one server."""

    def __init__(self, store: Store, *, jobs: Jobs, streams: Streams, pages: Pages, secret: bytes) -> None:
        self._store = store
        self._jobs = jobs
        self._streams = streams
        self._pages = pages
        self._secret = secret
        jobs.register("export", self._export)

    def resume(self) -> None:
        """Remove the files of videos that were being deleted when the server was killed."""
        known = {Path(row["path"]).parent.name for row in self._store.all("SELECT path FROM videos")}
        exporting = {row["subject"] for row in self._store.all("SELECT subject FROM jobs WHERE status = 'processing'")}
        for folder in self._store.path("videos").glob("*"):
            if folder.name not in known | exporting:
                shutil.rmtree(folder)

    def export(self, recording: Recording, name: str | None) -> str:
        """Begin to make a video of a recording, and return the job's id. One recording makes one video."""
        return self._jobs.submit("export", str(recording.id), _export_of(recording, name))

    def export_now(self, run: JobRun, recording: Recording, name: str | None) -> dict[str, Any]:
        """Make a video of a recording as a part of another job, and return what `export` comes to."""
        return self._export(run, _export_of(recording, name))

    def get(self, video_id: str, kind: Kind | None = None) -> Video:
        """Return a video.

        Raises:
            NotFound: when there is none with this id.
        """
        row = self._store.one("SELECT * FROM videos WHERE id = ?", video_id)
        if row is None or kind not in {None, _video(row).kind}:
            raise NotFound(f"{(kind or 'video').capitalize()} with id {video_id} not found")
        return _video(row)

    def by_slug(self, slug: str) -> Video:
        """Return the video whose media are served under a slug.

        Raises:
            NotFound: when there is none.
        """
        row = self._store.one("SELECT * FROM videos WHERE slug = ?", slug)
        if row is None:
            raise NotFound("No such video")
        return _video(row)

    def page(self, kind: Kind, *, collection_id: str | None, limit: int, offset: int) -> list[Video]:
        """Return one page of the videos, the newest first."""
        rows = self._store.all(
            "SELECT * FROM videos WHERE has_video = ? AND (?2 IS NULL OR collection_id = ?2) "
            "ORDER BY created_at DESC, id DESC LIMIT ?3 OFFSET ?4",
            *(kind == "video", collection_id, limit, offset),
        )
        return [_video(row) for row in rows]

    def delete(self, video_id: str, kind: Kind) -> None:
        """Delete a video, its transcript and its index. The recording it came from stays, and can be exported again.

        Raises:
            NotFound: when there is none with this id.
        """
        video = self.get(video_id, kind)
        self._store.execute("DELETE FROM videos WHERE id = ?", video.id)
        shutil.rmtree(self.file_of(video).parent, ignore_errors=True)

    def file(self, video_id: str) -> Path:
        """Return the one file to cut from.

        Raises:
            NotFound: when there is no such video.
        """
        return self.file_of(self.get(video_id))

    def file_of(self, video: Video) -> Path:
        """Return the one file of a video."""
        return self._store.path(video.path)

    def segments(self, video: Video) -> Sequence[Segment]:
        """Return what to stream: the recording's own segments, which are the same media once more."""
        holes = [(hole["start"], hole["end"]) for hole in self._missing(video.recording_id)]
        return [
            segment
            for segment in self._streams.recording_segments(video.recording_id)
            if not any(start <= segment.wall_start and segment.wall_end <= end for start, end in holes)
        ]

    def _missing(self, recording_id: int) -> list[dict[str, float]]:
        """Return what the export of a recording lacks, in unix seconds."""
        rows = self._store.all("SELECT * FROM unreadable WHERE recording_id = ? ORDER BY start_at", recording_id)
        return [{"start": row["start_at"], "end": row["end_at"]} for row in rows]

    def player_path(self, video: Video) -> str:
        """Return the path of a video's player page."""
        return self._pages.path(video.stream_path, title=video.name)

    def described(self, video: Video) -> dict[str, Any]:
        """Return a video as the service describes it."""
        common: dict[str, Any] = {
            "id": video.id,
            "collection_id": video.collection_id,
            "name": video.name,
            "length": f"{video.length_s:.3f}",  # the service's lengths are strings
            "size": str(video.size_bytes),
            "created_at": datetime.fromtimestamp(video.created_at, UTC).isoformat(),
        }
        if video.kind == "audio":
            return common
        return {
            **common,
            "description": None,
            "thumbnail_url": None,
            "stream_url": video.stream_path,
            "player_url": self.player_path(video),
        }

    def _export(self, run: JobRun, arguments: dict[str, Any]) -> dict[str, Any]:
        recording_id = int(arguments["recording_id"])
        if self._of_recording(recording_id) is None:
            self._write(run, recording_id, arguments)
        video = self._of_recording(recording_id)
        if video is None:
            raise NotFound("The video was deleted while it was exported")
        links = {"player_url": self.player_path(video)} if video.kind == "video" else {}
        return {
            "video_id": video.id,
            "name": video.name,
            "stream_url": video.stream_path,
            **links,
            "duration": video.length_s,
            **({"missing": missing} if (missing := self._missing(recording_id)) else {}),
        }

    def _write(self, run: JobRun, recording_id: int, arguments: dict[str, Any]) -> None:
        """Write the file, then the row: killed in between, the same is done again."""
        video_id = str(arguments["video_id"])
        relative = f"videos/{recording_id}/{'audio.m4a' if video_id.startswith('a-') else 'video.mp4'}"
        target = self._store.path(relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        facts = export_mp4(self._streams.recording_segments(recording_id), target, on_progress=run.progress)
        with self._store.transaction():
            self._store.execute("DELETE FROM unreadable WHERE recording_id = ?", recording_id)
            holes = [(recording_id, start, end) for start, end in facts.missing]
            self._store.insert_many("INSERT INTO unreadable VALUES (?, ?, ?)", holes)
            self._store.execute(
                "INSERT INTO videos VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(video_id, arguments["collection_id"], arguments["name"], recording_id, relative, facts.duration_s),
                *(target.stat().st_size, facts.has_video, facts.has_audio, ids.slug(self._secret, "video", video_id)),
                time.time(),
            )

    def _of_recording(self, recording_id: int) -> Video | None:
        row = self._store.one("SELECT * FROM videos WHERE recording_id = ?", recording_id)
        return _video(row) if row else None


def _export_of(recording: Recording, name: str | None) -> dict[str, Any]:
    return {
        "recording_id": recording.id,
        "collection_id": recording.collection_id,
        "name": name or f"{recording.stream_name} - Recording",
        "video_id": ids.video_id() if recording.has_video else ids.audio_id(),
    }


def _video(row: sqlite3.Row) -> Video:
    values = cast("dict[str, Any]", dict(row))
    return Video(**{**values, "has_video": bool(row["has_video"]), "has_audio": bool(row["has_audio"])})
