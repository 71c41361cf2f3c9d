"""What is served without a key, to players and browsers: playlists, segments, files and the player's page.

Every address holds 128 bits or more that nobody can guess; who has a link may watch, as at the service.
"""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_videodb.local_server import player
from prefect_videodb.local_server.errors import NotFound
from prefect_videodb.local_server.media.segments import Segment, playlist
from prefect_videodb.local_server.state import State

PLAYLIST = "application/vnd.apple.mpegurl"
# What is served under one address never changes, but a playlist that grows.
FOR_EVER = "public, max-age=31536000, immutable"
TYPES = {
    ".ts": "video/mp2t",
    ".mp4": "video/mp4",
    ".m4a": "audio/mp4",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".css": "text/css",
}
ANYWHERE = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "content-length, content-range, accept-ranges",
    "x-content-type-options": "nosniff",
}


class Media:
    """The public side of one server."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return what to serve."""
        served = {
            "/manifests/{stream_id}/{file}": self.manifest,
            "/recordings/{recording}/{name}": self.recording_segment,
            "/videos/{slug}/index.m3u8": self.video_playlist,
            "/videos/{slug}/video.mp4": self.video_file,
            "/clips/{slug}/index.m3u8": self.clip_playlist,
            "/clips/{slug}/{name}": self.clip_segment,
            "/downloads/{slug}/{name}": self.download,
            "/thumbnails/{slug}.jpg": self.thumbnail,
        }
        pages = {"/watch": self.watch, "/embed": self.watch, "/player/{asset}": self.asset}
        return [
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in {**served, **pages}.items()),
            *(Route(path, preflight, methods=["OPTIONS"]) for path in served),
        ]

    async def manifest(self, request: Request) -> Response:
        """A window of a stream; while the stream runs into it, it grows."""
        stream_id, file = request.path_params["stream_id"], request.path_params["file"]

        def text() -> str:
            return playlist(self._state.clips.window(stream_id, file), _recording_uri)

        return await _playlist(text)

    async def recording_segment(self, request: Request) -> Response:
        """A segment of a recording."""
        return await _file(lambda: self._state.streams.segment_file(**request.path_params))

    async def video_playlist(self, request: Request) -> Response:
        """A whole video."""

        def text() -> str:
            video = self._state.videos.by_slug(request.path_params["slug"])
            return playlist(self._state.videos.segments(video), _recording_uri)

        return await _playlist(text)

    async def video_file(self, request: Request) -> Response:
        """A whole video as one file."""

        def path() -> Path:
            return self._state.videos.file_of(self._state.videos.by_slug(request.path_params["slug"]))

        return await _file(path)

    async def clip_playlist(self, request: Request) -> Response:
        """A clip; it is cut now when nobody asked for it before."""

        def text() -> str:
            segments: Sequence[Segment] = self._state.clips.clip_segments(request.path_params["slug"])
            return playlist(segments, lambda segment: segment.path.name)

        return await _playlist(text)

    async def clip_segment(self, request: Request) -> Response:
        """A segment of a clip."""
        return await _file(lambda: self._state.clips.clip_file(**request.path_params))

    async def download(self, request: Request) -> Response:
        """A finished download."""
        return await _file(lambda: self._state.clips.download_file(request.path_params["slug"]), attachment=True)

    async def thumbnail(self, request: Request) -> Response:
        """A picture of a video."""
        return await _file(lambda: self._state.scenes.thumbnail_file(request.path_params["slug"]))

    async def watch(self, request: Request) -> Response:
        """The player's page."""
        slug = request.query_params.get("v", "")
        page = await anyio.to_thread.run_sync(self._state.pages.get, slug)
        embedded = request.url.path == "/embed"
        headers = player.headers(embedded=embedded)
        return HTMLResponse(
            player.page(page.title, page.description, page.stream_path, embedded=embedded), headers=headers
        )

    async def asset(self, request: Request) -> Response:
        """A script or style of the player's page."""
        name = request.path_params["asset"]
        if name not in player.ASSETS:
            raise NotFound("No such asset")
        path = Path(str(files("prefect_videodb.local_server").joinpath("assets", name)))
        return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache", **ANYWHERE})


async def preflight(_request: Request) -> Response:
    """Let a player on another site ask for ranges."""
    allowed = {
        "access-control-allow-methods": "GET, HEAD",
        "access-control-allow-headers": "range",
        "access-control-max-age": "86400",
    }
    return Response(status_code=204, headers={**ANYWHERE, **allowed})


async def _playlist(text: Callable[[], str]) -> Response:
    content = await anyio.to_thread.run_sync(text)
    return PlainTextResponse(content, media_type=PLAYLIST, headers={"cache-control": "no-cache", **ANYWHERE})


async def _file(find: Callable[[], Path], *, attachment: bool = False) -> Response:
    path = await anyio.to_thread.run_sync(find)
    if not await anyio.to_thread.run_sync(path.is_file):
        raise NotFound("The file is gone")
    return FileResponse(
        path,
        media_type=TYPES[path.suffix],
        filename=path.name if attachment else None,
        headers={"cache-control": FOR_EVER, **ANYWHERE},
    )


def _recording_uri(segment: Segment) -> str:
    """Name a segment of a recording from any playlist: they all lie two folders deep."""
    return f"../../recordings/{segment.path.parent.name}/{segment.path.name}"
