"""Scene indexes of videos, and pictures of them: what is seen, as facts of the picture."""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from prefect_videodb.local_server import ids
from prefect_videodb.local_server.errors import BadRequest, NotFound
from prefect_videodb.local_server.jobs import JobRun, Jobs
from prefect_videodb.local_server.media.pictures import Facts, describe, facts_at, shots, write_jpeg
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.videos import Video, Videos

Extraction = Literal["time", "shot"]


@dataclass(frozen=True, slots=True)
class Scene:
    """What is seen in one part of a video; seconds."""

    index_id: str
    start_s: float
    end_s: float
    description: str


class Scenes:
    """The scene indexes and thumbnails of one server's videos."""

    def __init__(self, store: Store, *, jobs: Jobs, videos: Videos, secret: bytes) -> None:
        self._store = store
        self._jobs = jobs
        self._videos = videos
        self._secret = secret
        jobs.register("scenes", self._index)

    # --- scene indexes ------------------------------------------------------------------------------------------------

    def index(self, video: Video, *, extraction: Extraction, seconds: float, frame_count: int, name: str | None) -> str:
        """Begin to describe the scenes of a video, and return the job's id. Nothing prevents a second index."""
        index_id = ids.short_id()
        self._store.execute(
            "INSERT INTO video_scene_indexes VALUES (?, ?, ?, 'processing', ?)", index_id, video.id, name, time.time()
        )
        arguments = {
            "index_id": index_id,
            "video_id": video.id,
            "extraction": extraction,
            "seconds": seconds,
            "frame_count": frame_count,
        }
        return self._jobs.submit("scenes", index_id, arguments)

    def of_video(self, video: Video) -> list[dict[str, Any]]:
        """Return the scene indexes of a video, the oldest first."""
        rows = self._store.all("SELECT * FROM video_scene_indexes WHERE video_id = ? ORDER BY created_at, id", video.id)
        return [{"scene_index_id": row["id"], "name": row["name"], "status": row["status"]} for row in rows]

    def scenes(self, video: Video, index_id: str | None = None) -> list[Scene]:
        """Return the scenes of an index, or of all that are done.

        Raises:
            NotFound: when the video has no such index.
            BadRequest: when that one is not done.
        """
        if index_id is not None and self._row(video, index_id)["status"] != "done":
            raise BadRequest(f"The scene index {index_id} is {self._row(video, index_id)['status']}")
        rows = self._store.all(
            "SELECT video_scenes.* FROM video_scenes JOIN video_scene_indexes AS indexes ON indexes.id = index_id "
            "WHERE video_id = ?1 AND status = 'done' AND (?2 IS NULL OR index_id = ?2) ORDER BY start_s",
            *(video.id, index_id),
        )
        return [Scene(row["index_id"], row["start_s"], row["end_s"], row["description"]) for row in rows]

    def delete(self, video: Video, index_id: str) -> None:
        """Delete a scene index.

        Raises:
            NotFound: when the video has no such index.
        """
        self._store.execute("DELETE FROM video_scene_indexes WHERE id = ?", self._row(video, index_id)["id"])

    def _index(self, run: JobRun, arguments: dict[str, Any]) -> dict[str, Any]:
        index_id = arguments["index_id"]
        video = self._videos.get(arguments["video_id"])
        path = self._videos.file_of(video)
        try:
            if arguments["extraction"] == "shot":
                bounds = shots(path)
            else:
                count = max(1, -(-video.length_s // arguments["seconds"]))
                bounds = [number * arguments["seconds"] for number in range(int(count))]
            found = self._described(run, path, [*bounds, video.length_s], arguments["frame_count"])
        except Exception:
            self._store.execute("UPDATE video_scene_indexes SET status = 'failed' WHERE id = ?", index_id)
            raise
        with self._store.transaction():
            if self._store.one("SELECT 1 FROM video_scene_indexes WHERE id = ?", index_id) is None:
                raise NotFound("The scene index was deleted while it was made")
            self._store.execute("DELETE FROM video_scenes WHERE index_id = ?", index_id)
            self._store.insert_many(
                "INSERT INTO video_scenes VALUES (?, ?, ?, ?, ?)", [(index_id, *scene) for scene in found]
            )
            self._store.execute("UPDATE video_scene_indexes SET status = 'done' WHERE id = ?", index_id)
        return {"scene_index_id": index_id}

    @staticmethod
    def _described(
        run: JobRun, path: Path, bounds: Sequence[float], frame_count: int
    ) -> list[tuple[float, float, str, str]]:
        scenes = []
        before: Facts | None = None
        for number, (start, end) in enumerate(pairwise(bounds)):
            run.progress(number / len(bounds))
            pictures: list[Facts] = []
            for part in range(frame_count):
                at_s = start + (end - start) * part / frame_count
                pictures.append(facts_at(path, at_s, before=pictures[-1] if pictures else before))
            facts = {"brightness": round(pictures[-1].brightness), "colours": list(pictures[-1].colours)}
            scenes.append((start, end, describe(pictures, before), json.dumps(facts)))
            before = pictures[-1]
        return scenes

    def metadata(self, video: Video, index_id: str) -> list[dict[str, Any]]:
        """Return the scenes of an index as the service describes them."""
        self._row(video, index_id)
        rows = self._store.all("SELECT * FROM video_scenes WHERE index_id = ? ORDER BY start_s", index_id)
        return [
            {
                "start": row["start_s"],
                "end": row["end_s"],
                "description": row["description"],
                "metadata": json.loads(row["metadata"]),
            }
            for row in rows
        ]

    def _row(self, video: Video, index_id: str) -> sqlite3.Row:
        row = self._store.one("SELECT * FROM video_scene_indexes WHERE id = ? AND video_id = ?", index_id, video.id)
        if row is None:
            raise NotFound(f"Scene index with id {index_id} not found")
        return row

    # --- thumbnails ---------------------------------------------------------------------------------------------------

    def thumbnail(self, video: Video, at_s: float) -> dict[str, Any]:
        """Return the picture of a video at a time: made now, or the one that was made of it before."""
        slug = ids.slug(self._secret, "thumbnail", video.id, at_s)
        row = self._store.one("SELECT * FROM thumbnails WHERE slug = ?", slug)
        if row is None:
            path = self._videos.file_of(video).with_name(f"thumbnail-{slug}.jpg")
            write_jpeg(self._videos.file_of(video), min(at_s, video.length_s), path)
            self._store.execute(
                "INSERT OR IGNORE INTO thumbnails VALUES (?, ?, ?, ?, ?, ?)",
                *(f"img-{ids.uuid7()}", video.id, at_s, self._store.relative(path), slug, time.time()),
            )
            row = self._store.all("SELECT * FROM thumbnails WHERE slug = ?", slug)[0]
        return _thumbnail(video, row)

    def thumbnails(self, video: Video) -> list[dict[str, Any]]:
        """Return all pictures that were made of a video, the earliest in it first."""
        rows = self._store.all("SELECT * FROM thumbnails WHERE video_id = ? ORDER BY at_s", video.id)
        return [_thumbnail(video, row) for row in rows]

    def thumbnail_file(self, slug: str) -> Path:
        """Return the file of a picture.

        Raises:
            NotFound: when there is none with this slug.
        """
        row = self._store.one("SELECT path FROM thumbnails WHERE slug = ?", slug)
        if row is None:
            raise NotFound("No such picture")
        return self._store.path(row["path"])


def _thumbnail(video: Video, row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "collection_id": video.collection_id,
        "name": f"{video.name} at {row['at_s']:g} s",
        "url": f"/thumbnails/{row['slug']}.jpg",
        "timestamp": row["at_s"],
    }
