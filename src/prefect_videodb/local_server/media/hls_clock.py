"""The wall clock of a live HLS source: its playlist's dates, which FFmpeg's reader of HLS passes over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin
from urllib.request import urlopen

import av
import av.error

if TYPE_CHECKING:
    from av.container import InputContainer

    from prefect_videodb.local_server.media.source import Source

_WEB = ("http://", "https://")
_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Dated:
    """A segment of a playlist and the date of its first frame, in unix seconds."""

    url: str
    at: float


def read_clock(source: Source) -> float | None:
    """Return which unix second it was when the time stamps of a live playlist's media were zero.

    Costs the playlist and the beginning of one segment. None where the source has no dates, or its segments cannot be
    read one by one (fragmented MP4, encrypted ones): that is no reason not to record it.
    """
    try:
        dated = _last_dated(source.address)
        if dated is None:
            return None
        with av.open(dated.url, "r", options=source.options, timeout=_TIMEOUT_S) as media:
            start_s = _start_s(media)
    except (av.error.FFmpegError, OSError, ValueError, HTTPException):
        return None
    return None if start_s is None else dated.at - start_s


def _start_s(media: InputContainer) -> float | None:
    for packet in media.demux(media.streams.best("video") or media.streams.best("audio")):
        if packet.dts is not None:
            return float(packet.dts * packet.time_base)
    return None


def _last_dated(url: str) -> _Dated | None:
    """Return the last segment whose date is known; of variants, the first one's."""
    url, lines = _load(url)
    variant = next((i for i, line in enumerate(lines) if line.startswith("#EXT-X-STREAM-INF")), None)
    if variant is not None:
        address = next((line for line in lines[variant + 1 :] if not line.startswith("#")), "")
        url, lines = _load(urljoin(url, address))
    if any(line.startswith(("#EXT-X-MAP", "#EXT-X-KEY:METHOD=AES")) for line in lines):
        return None
    found: _Dated | None = None
    at: float | None = None
    duration_s = 0.0
    for line in lines:
        name, _, value = line.partition(":")
        if name == "#EXT-X-PROGRAM-DATE-TIME":
            at = datetime.fromisoformat(value).timestamp()
        elif name == "#EXTINF":
            duration_s = float(value.partition(",")[0])
        elif not line.startswith("#") and at is not None:
            found = _Dated(urljoin(url, line), at)
            at += duration_s
    return found if found and found.url.startswith(_WEB) else None


def _load(url: str) -> tuple[str, list[str]]:
    if not url.startswith(_WEB):
        raise ValueError("not an address of the web")
    # Not by httpx: its log holds whole addresses.
    with urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - the scheme was looked at
        content = response.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError("a playlist of this length is none")
        where = str(response.url)
    return where, [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
