"""Where a recording comes from: how its address is opened, what may be said about it, and what its errors mean."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

import av
import av.error

from prefect_videodb.local_server import urls
from prefect_videodb.local_server.media.errors import BadMedia, MediaError, SourceUnreachable

if TYPE_CHECKING:
    from av.container import InputContainer

_NOBODY_THERE: Final = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EIO}
_NETWORK_PROTOCOLS: Final = "http,https,tcp,tls,crypto,data"
_OPEN_S: Final = 8.0
# FFmpeg's RTSP client tries a read twice before it gives up: four seconds are eight.
_RTSP_READ_S: Final = 4.0
_READ_S: Final = 8.0
_ANSWER_S: Final = 2.0
# What a keyframe of a large picture takes while nobody reads; the system may allow less.
_DATAGRAM_BYTES: Final = 4 << 20
# Nobody can say when a publisher comes. Each wait ends some time, so that one who connects and says nothing cannot
# keep the place for ever.
_PUBLISHER_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Source:
    """An address that was understood. Its repr and `shown` hold no secret; `address` does."""

    shown: str
    address: str = field(repr=False)
    options: dict[str, str] = field(repr=False)
    open_s: float
    read_s: float | None
    is_paced_by_us: bool
    """Read as fast as one likes, so it has to be slowed down to the pace of its own clock."""
    is_local: bool = False
    listens_at: tuple[str, int] | None = None
    """Where it waits for a publisher, when the source comes to us."""
    over_udp: dict[str, str] | None = field(default=None, repr=False)
    """What replaces options where media can come over UDP too."""

    def open(self, *, udp: bool = False) -> InputContainer:
        """Open it; blocks until the tracks are known, `open_s` at most for each of two steps."""
        options = {**self.options, **(self.over_udp or {})} if udp else self.options
        return av.open(self.address, "r", options=options, timeout=(self.open_s, self.read_s))


def parse(url: str) -> Source:
    """Understand the address of a source: rtsp, rtmp, http(s), `file:` or a plain path.

    `rtmp://host:port/app/key?listen=1` waits there for a publisher. Raise `BadMedia` for any other scheme: FFmpeg
    knows many that reach into this machine.
    """
    if "://" not in url:
        if "\x00" in url or ":" in url.partition("/")[0]:
            raise BadMedia("a source is an address like rtsp://host/path, or a file")
        return _file(url)
    try:
        parts = urls.read(url, urls.SOURCES)
    except urls.BadUrl as bad:
        raise BadMedia(f"the source's address cannot be used: {bad}; write it as rtsp://host/path") from None
    scheme, url = parts.scheme, parts.geturl()
    if scheme == "file":
        return _file(unquote(parts.path))
    shown = urls.shown(url)
    if scheme in {"rtsp", "rtsps"}:
        # A limit of PyAV's asks Python before each read, hundreds of times a second; FFmpeg's own costs nothing.
        options = {"rtsp_transport": "tcp", "timeout": str(round(_RTSP_READ_S * 1e6))}
        over_udp = {"rtsp_transport": "udp+udp_multicast", "buffer_size": str(_DATAGRAM_BYTES)}
        return Source(shown, url, options, _OPEN_S, None, is_paced_by_us=False, over_udp=over_udp)
    if scheme in {"rtmp", "rtmps"}:
        if dict(parse_qsl(parts.query)).get("listen") == "1":
            bare = parts._replace(query="").geturl()
            where = (parts.hostname or "", parts.port or 1935)
            options = {"listen": "1"}
            return Source(shown, bare, options, _PUBLISHER_S, _READ_S, is_paced_by_us=False, listens_at=where)
        return Source(shown, url, {"rtmp_live": "live"}, _OPEN_S, _READ_S, is_paced_by_us=False)
    # A playlist from the network may not name files of this machine.
    options = {"protocol_whitelist": _NETWORK_PROTOCOLS}
    return Source(shown, url, options, _OPEN_S, _READ_S, is_paced_by_us=True)


def _file(path: str) -> Source:
    options = {"protocol_whitelist": "file,crypto,data"}
    return Source(path, f"file:{path}", options, _OPEN_S, _READ_S, is_paced_by_us=True, is_local=True)


def is_refusal(error: Exception, source: Source) -> bool:
    """Whether somebody answers at an RTSP address, and may serve it over another transport.

    A camera may refuse TCP with any status, hang up, or accept it and send nothing.
    """
    others = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError, av.error.HTTPNotFoundError)
    if isinstance(error, others) or getattr(error, "errno", None) in _NOBODY_THERE:
        return False
    return _answers(source) if isinstance(error, av.error.ExitError | TimeoutError) else True


def _answers(source: Source) -> bool:
    """Whether an RTSP server answers at all: one that is frozen does not serve another transport either."""
    parts = urls.read(source.address, urls.SOURCES)
    where = (parts.hostname or "", parts.port or 554)
    try:
        with socket.create_connection(where, _ANSWER_S) as connection:
            connection.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            return connection.recv(64).startswith(b"RTSP/")
    except OSError:
        return False


def explain(error: Exception, source: Source) -> MediaError:
    """Say what an error of FFmpeg means for who gave the address, in words that hold no secret.

    FFmpeg's own message quotes the whole address, so only the name of its error is used.
    """
    reason = getattr(error, "strerror", None) or type(error).__name__
    if isinstance(error, av.error.ExitError | TimeoutError):
        return SourceUnreachable(f"{source.shown} sends nothing; check that it is running")
    if isinstance(error, av.error.HTTPNotFoundError):
        return SourceUnreachable(f"{source.shown} does not exist there (404); check its path")
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return SourceUnreachable(f"{source.shown} refuses access; check user, password or key")
    if isinstance(error, av.error.InvalidDataError | av.error.LookupError):
        return BadMedia(f"{source.shown} does not send media that can be read ({reason})")
    if isinstance(error, PermissionError) and not source.is_local:
        return BadMedia(f"{source.shown} refers to an address that is not allowed")
    return SourceUnreachable(f"{source.shown} cannot be reached: {reason}")


def is_regular_file(source: Source) -> bool:
    """Say whether a local source is a file at all."""
    return Path(source.address.removeprefix("file:")).is_file()
