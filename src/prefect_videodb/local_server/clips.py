"""Clips cut from videos, and files to download.

A clip is named by what it shows, and cut when somebody first asks for it. So the same shots are one clip however often
they are compiled, and a search can hand out a link for every result without cutting anything.
"""

import json
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect_videodb.local_server import ids, urls
from prefect_videodb.local_server.errors import BadRequest, NotFound
from prefect_videodb.local_server.jobs import JobRun, Jobs
from prefect_videodb.local_server.media.clips import Part, compile_parts, join_mp4
from prefect_videodb.local_server.media.segments import Listing, Segment
from prefect_videodb.local_server.pages import Pages
from prefect_videodb.local_server.store import Store
from prefect_videodb.local_server.streams import Streams
from prefect_videodb.local_server.videos import Videos

MAX_SHOTS = 500
# A shorter one may hold no picture at all.
MIN_SHOT_S = 0.04


@dataclass(frozen=True, slots=True)
class Shot:
    """A part of a video, in seconds of it."""

    video_id: str
    start: float
    end: float


class Clips:
    """The clips and downloads of one server."""

    def __init__(
        self, store: Store, *, jobs: Jobs, streams: Streams, videos: Videos, pages: Pages, secret: bytes
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._streams = streams
        self._videos = videos
        self._pages = pages
        self._secret = secret
        self._cutting = threading.Lock()
        jobs.register("compile", self._compile)
        jobs.register("download", self._download)

    def resume(self) -> None:
        """Remove what an earlier server left half done."""
        for half in self._store.path("clips").glob("*.part"):
            shutil.rmtree(half)
        for half in self._store.path("downloads").glob("*.part"):
            half.unlink()

    # --- clips --------------------------------------------------------------------------------------------------------

    def links(self, shots: Sequence[Shot], *, title: str, description: str = "") -> dict[str, Any]:
        """Return `stream_url` and `player_url` of these shots, one after the other, without cutting them yet.

        Raises:
            BadRequest: when a shot is empty, or outside its video.
            NotFound: when a video is.
        """
        if not shots:
            raise BadRequest("No shots to compile")
        if len(shots) > MAX_SHOTS:
            raise BadRequest(f"Too many shots: {len(shots)}, at most {MAX_SHOTS} make one clip")
        whole = [asdict(self._within(shot)) for shot in shots]
        slug = ids.slug(self._secret, "clip", whole)
        self._store.execute("INSERT OR IGNORE INTO clips VALUES (?, ?, ?)", slug, json.dumps(whole), time.time())
        stream_path = f"/clips/{slug}/index.m3u8"
        return {
            "stream_url": stream_path,
            "player_url": self._pages.path(stream_path, title=title, description=description),
        }

    def compile(self, shots: Sequence[Shot], *, title: str) -> str:
        """Begin to cut these shots, and return the job's id.

        Raises:
            BadRequest: when a shot is empty, or outside its video.
            NotFound: when a video is.
        """
        links = self.links(shots, title=title)
        slug = links["stream_url"].split("/")[2]
        return self._jobs.submit("compile", slug, {"slug": slug, "links": links})

    def clip_segments(self, slug: str) -> Sequence[Segment]:
        """Return a clip's segments, cut now when they were not yet.

        Raises:
            NotFound: when there is no such clip, or its video was deleted before it was cut.
        """
        row = self._store.one("SELECT shots FROM clips WHERE slug = ?", slug)
        if row is None:
            raise NotFound("No such clip")
        folder = self._store.path(f"clips/{slug}")
        listing = folder / "segments.json"
        if not listing.exists():
            self._cut_once([Shot(**shot) for shot in json.loads(row["shots"])], folder, listing)
        return [Segment(**{**entry, "path": folder / entry["path"]}) for entry in json.loads(listing.read_text())]

    def clip_file(self, slug: str, name: str) -> Path:
        """Return a segment's file.

        Raises:
            NotFound: when no playlist names it.
        """
        for segment in self.clip_segments(slug):
            if segment.path.name == name:
                return segment.path
        raise NotFound("No such segment")

    def _within(self, shot: Shot) -> Shot:
        """Return the shot, ending with its video at the latest."""
        length_s = self._videos.get(shot.video_id).length_s
        end = min(shot.end, length_s)
        if shot.start < 0 or shot.start >= shot.end:
            raise BadRequest(
                f"Invalid shot [{shot.start}, {shot.end}]: it must start at 0 or later and end after its start"
            )
        if end - shot.start < MIN_SHOT_S:
            raise BadRequest(f"Invalid shot [{shot.start}, {shot.end}]: the video is {length_s:.3f} seconds long")
        return Shot(shot.video_id, shot.start, end)

    def _cut_once(self, shots: Sequence[Shot], folder: Path, listing: Path) -> None:
        # One at a time: cutting is short, and two requests for one clip would cut it twice.
        with self._cutting:
            if not listing.exists():
                self._cut(shots, folder)

    def _cut(self, shots: Sequence[Shot], folder: Path) -> None:
        parts = [Part(self._videos.file(shot.video_id), shot.start, shot.end) for shot in shots]
        half = folder.with_name(folder.name + ".part")
        try:
            segments = compile_parts(parts, half)
            listing = [{**asdict(segment), "path": segment.path.name} for segment in segments]
            (half / "segments.json").write_text(json.dumps(listing))
            half.rename(folder)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise

    def _compile(self, _run: JobRun, arguments: dict[str, Any]) -> dict[str, Any]:
        self.clip_segments(arguments["slug"])
        return dict(arguments["links"])

    # --- downloads ----------------------------------------------------------------------------------------------------

    def download(self, stream_link: str, name: str) -> str:
        """Begin to make one mp4 of what a playlist of this server plays, and return the job's id.

        Raises:
            BadRequest: when the link is none of this server.
            NotFound: when it plays nothing.
        """
        try:
            is_path = stream_link.startswith("/")  # as in answers before the host is put before it
            stream_path = stream_link if is_path else urls.read(stream_link, urls.WEB).path
        except urls.BadUrl as bad:
            raise BadRequest(f"stream_link: {bad}") from None
        # A window of a running stream grows: what it holds now is part of what is asked for.
        slug = ids.slug(self._secret, "download", stream_path, name, len(self.stream_segments(stream_path)))
        # Derived from the slug, not from the time: asked twice, it is one download.
        download_id = f"download-{ids.slug(self._secret, 'download-id', slug)}"
        with self._store.transaction():
            self._store.execute(
                "INSERT INTO downloads VALUES (?, ?, ?, ?, 'processing', NULL, ?) "
                "ON CONFLICT DO UPDATE SET status = 'processing'",
                *(download_id, name, stream_path, slug, time.time()),
            )
            return self._jobs.submit("download", download_id, {"id": download_id})

    def get_download(self, download_id: str) -> dict[str, Any]:
        """Return a download as the service describes it.

        Raises:
            NotFound: when there is none.
        """
        with self._store.transaction():
            row = self._store.one("SELECT * FROM downloads WHERE id = ?", download_id)
            if row is None:
                raise NotFound(f"Download with id {download_id} not found")
            status = row["status"]
            if status == "processing" and not self._jobs.is_running("download", download_id):
                status = "error"  # its job was given up before it could say so
        url = f"/downloads/{row['slug']}/{_file_stem(row['name'])}{Path(row['path']).suffix}" if row["path"] else None
        return {"id": row["id"], "name": row["name"], "status": status, "download_url": url}

    def download_file(self, slug: str) -> Path:
        """Return the file of a finished download.

        Raises:
            NotFound: when there is none.
        """
        row = self._store.one("SELECT path FROM downloads WHERE slug = ? AND path IS NOT NULL", slug)
        if row is None:
            raise NotFound("No such download")
        return self._store.path(row["path"])

    def stream_segments(self, stream_path: str) -> Sequence[Segment]:
        """Return what a playlist of this server plays.

        Raises:
            BadRequest: when the path is none of a playlist.
            NotFound: when it plays nothing.
        """
        segments: Sequence[Segment]
        match stream_path.split("/"):
            case ["", "manifests", stream_id, file]:
                segments = self.window(stream_id, file).segments
            case ["", "clips", slug, "index.m3u8"]:
                segments = self.clip_segments(slug)
            case ["", "videos", slug, "index.m3u8"]:
                segments = self._videos.segments(self._videos.by_slug(slug))
            case _:
                raise BadRequest("stream_link must be a stream_url of this server")
        return segments

    def window(self, stream_id: str, file: str) -> Listing:
        """Return what `<start µs>-<end µs>.m3u8` of a stream lists now.

        Raises:
            NotFound: when that is nothing.
        """
        start, end = window_of(file)
        return self._streams.window(stream_id, start, end)

    def _download(self, run: JobRun, arguments: dict[str, Any]) -> dict[str, Any]:
        download_id = arguments["id"]
        try:
            row = self._store.all("SELECT stream_path, path FROM downloads WHERE id = ?", download_id)[0]
            if row["path"] is None or not self._store.path(row["path"]).exists():
                segments = self.stream_segments(row["stream_path"])
                run.progress(0.01)
                kind = "mp4" if any(segment.has_video for segment in segments) else "m4a"
                target = self._store.path(f"downloads/{download_id}.{kind}")
                target.parent.mkdir(exist_ok=True)
                join_mp4(segments, target)
                self._store.execute(
                    "UPDATE downloads SET path = ? WHERE id = ?", self._store.relative(target), download_id
                )
        except Exception:
            self._store.execute("UPDATE downloads SET status = 'error' WHERE id = ?", download_id)
            raise
        self._store.execute("UPDATE downloads SET status = 'done' WHERE id = ?", download_id)
        return self.get_download(download_id)


def window_of(file: str) -> tuple[float, float]:
    """Read the window that a manifest's name gives, in unix seconds.

    Raises:
        NotFound: when it is no such name.
    """
    stem, dot, suffix = file.rpartition(".")
    start, dash, end = stem.partition("-")
    digits = start.isdecimal() and end.isdecimal() and start.isascii() and end.isascii()
    if not (dot and dash and digits and suffix == "m3u8" and len(stem) < 50):  # noqa: PLR2004 - two numbers of 20 digits
        raise NotFound("No such manifest")
    return int(start) / 1_000_000, int(end) / 1_000_000


def _file_stem(name: str) -> str:
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name.removesuffix(".mp4"))
    return stem.strip("-")[:80] or "video"
