"""The server's page for people: what it is, what it records, what it has sent. Made anew for each request."""

import base64
import binascii
import hmac
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from html import escape
from importlib.resources import files
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_videodb.local_server import DEFAULT_KEY
from prefect_videodb.local_server.deliveries import Outcome
from prefect_videodb.local_server.hosts import HostCheck
from prefect_videodb.local_server.media.pictures import write_jpeg
from prefect_videodb.local_server.state import State
from prefect_videodb.local_server.streams import LiveStream
from prefect_videodb.local_server.videos import Video

REFRESH_S = 10
MAX_VIDEOS = 50
PICTURES_KEPT = 128
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "vary": "accept",
}
# A proxy before this server lets others reach it, whatever the Host header is.
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class Overview:
    """What the page shows. Holds no secret: no source's URL, no webhook's address, no key but the published one."""

    base_url: str
    key: str
    sample_url: str | None
    streams: list[LiveStream]
    players: list[str]
    videos: list[Video]
    video_players: list[str]
    outcomes: list[Outcome]


class Dashboard:
    """The page of one server, and the pictures on it.

    On a loopback address it needs no key. Where others reach the server, the browser asks for the key as a password.
    """

    def __init__(self, state: State, api_key: str, hosts: HostCheck) -> None:
        self._state = state
        self._api_key = api_key
        self._hosts = hosts

    def routes(self) -> list[Route]:
        """Return what to serve."""
        served = {"/": self.page, "/differences": self.differences, "/pictures/{stream_id}.jpg": self.picture}
        return [Route(path, endpoint, methods=["GET"]) for path, endpoint in served.items()]

    async def page(self, request: Request) -> Response:
        """The page; programs get a line of JSON, which says no more than what this server is."""
        accept = request.headers.get("accept", "")
        if "text/html" not in accept or "application/json" in accept:
            service = {"success": True, "data": {"service": "prefect-videodb local server"}}
            return JSONResponse(service, headers={"vary": "accept"})
        if not self._may_see(request):
            return _key_wanted()
        overview = await anyio.to_thread.run_sync(self._overview, f"http://{request.headers.get('host', '')}")
        return HTMLResponse(page(overview), headers=HEADERS)

    async def differences(self, _request: Request) -> Response:
        """What differs from VideoDB."""
        text = files("prefect_videodb.local_server").joinpath("DIFFERENCES.md").read_text(encoding="utf-8")
        return PlainTextResponse(text, headers=HEADERS)

    async def picture(self, request: Request) -> Response:
        """The latest keyframe of a stream."""
        if not self._may_see(request):
            return _key_wanted()
        stream_id = request.path_params["stream_id"]
        jpeg = await anyio.to_thread.run_sync(lambda: _jpeg(self._state.streams.latest_picture(stream_id)))
        return Response(jpeg, media_type="image/jpeg", headers=HEADERS)

    def _may_see(self, request: Request) -> bool:
        is_proxied = any(header in request.headers for header in _OF_PROXIES)
        if self._hosts.is_local(request.headers.get("host", "")) and not is_proxied:
            return True
        given = request.headers.get("x-access-token", "") or _password(request.headers.get("authorization", ""))
        return hmac.compare_digest(given.encode(), self._api_key.encode())

    def _overview(self, base_url: str) -> Overview:
        streams, pages = self._state.streams.live(), self._state.pages
        videos = self._state.videos.page("video", collection_id=None, limit=MAX_VIDEOS, offset=0)
        return Overview(
            base_url=base_url,
            key=DEFAULT_KEY if self._api_key == DEFAULT_KEY else "",
            sample_url=self._state.sample_url,
            streams=streams,
            players=[pages.path(stream.window_path, title=stream.name) for stream in streams],
            videos=videos,
            video_players=[self._state.videos.player_path(video) for video in videos],
            outcomes=self._state.deliveries.outcomes(),
        )


def page(overview: Overview) -> str:
    """Return the page. Whatever the texts hold, they are shown as text."""
    sample = f"<code>{escape(overview.sample_url)}</code>" if overview.sample_url else "not served (--no-sample)"
    key = (
        f"<code>{escape(overview.key)}</code>, which everybody knows" if overview.key else "as the server was given it"
    )
    streams = [_stream(*shown) for shown in zip(overview.streams, overview.players, strict=True)]
    videos = [_video(*shown) for shown in zip(overview.videos, overview.video_players, strict=True)]
    content = f"""<h1>VideoDB local server</h1>
<dl>
<dt>Base URL</dt><dd><code>{escape(overview.base_url)}</code></dd>
<dt>API key</dt><dd>{key}</dd>
<dt>Sample meeting</dt><dd>{sample}</dd>
<dt>Not as at VideoDB</dt><dd><a href="/differences">what differs from the service</a></dd>
</dl>
<h2>Live streams</h2>
{f"<ul>{''.join(streams)}</ul>" if streams else '<p class="soft">No stream is connected.</p>'}
<h2>Videos</h2>
{_table(("Video", "Length", "Size", "Made"), videos, "Nothing was exported yet.")}
<h2>Webhooks sent since the start</h2>
{_table(("What", "To", "Answer", "Tries", "When"), map(_outcome, overview.outcomes), "None was sent.")}"""
    return _html(content, refresh_s=REFRESH_S)


def _stream(stream: LiveStream, player: str) -> str:
    name = escape(stream.name)
    picture = f"/pictures/{escape(stream.id)}.jpg?{int(time.time())}"
    nothing = "sound only" if stream.recorded_s else "nothing received yet"
    shown = f'<img src="{picture}" alt="">' if stream.has_picture else f'<span class="none">{nothing}</span>'
    link = f'<a href="{escape(player)}">{name}</a>' if stream.recorded_s else name
    return (
        f'<li>{shown}<div class="text"><h3>{link}</h3>'
        f'<p class="soft">{_length(stream.recorded_s)} recorded; {escape(stream.status_message)}</p></div></li>'
    )


def _video(video: Video, player: str) -> tuple[str, ...]:
    link = f'<a href="{escape(player)}">{escape(video.name)}</a>'
    return link, _length(video.length_s), f"{video.size_bytes / 1e6:.1f} MB", _moment(video.created_at)


def _outcome(outcome: Outcome) -> tuple[str, ...]:
    kind = "good" if outcome.state == "accepted" else "bad"
    answer = f'<span class="{kind}">{escape(outcome.answer)}, {outcome.state}</span>'
    return escape(outcome.subject), escape(outcome.host), answer, str(outcome.tries), _moment(outcome.at)


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]], empty: str) -> str:
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return f'<p class="soft">{empty}</p>'
    return (
        f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>{body}</tbody></table>"
    )


def _html(content: str, *, refresh_s: int | None = None) -> str:
    refresh = f'<meta http-equiv="refresh" content="{refresh_s}">\n' if refresh_s else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh}<title>VideoDB local server</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/player/dashboard.css">
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""


def _key_wanted() -> Response:
    content = (
        "<h1>VideoDB local server</h1><p>Others can reach this server: its page needs the API key. Reload it, and "
        "enter the key (<code>--key</code>, <code>VIDEO_DB_API_KEY</code>) as the password, with any user name.</p>"
    )
    challenge = {"www-authenticate": 'Basic realm="VideoDB local server: the API key as password", charset="UTF-8"'}
    return HTMLResponse(_html(content), 401, headers={**HEADERS, **challenge})


def _password(authorization: str) -> str:
    """Return the password of HTTP's basic authentication; nothing where it is none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


# A segment never changes; a page that is open asks for the same one several times.
@lru_cache(maxsize=PICTURES_KEPT)
def _jpeg(segment: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "picture.jpg"
        write_jpeg(segment, 0.0, target)
        return target.read_bytes()


def _length(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _moment(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
