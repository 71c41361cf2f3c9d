"""Read and check URLs: the one place of this server that does.

A parser takes apart whatever it gets: of `rtsp://admin:4711#hunter22@camera/room` it makes the host `admin`. Here a URL
that two readers may understand in two ways is refused. No message and no `shown` holds a secret of it.
"""

import re
from collections.abc import Collection
from ipaddress import IPv6Address
from urllib.parse import SplitResult, urlsplit

MAX_LENGTH = 16_384
WEB: tuple[str, ...] = ("http", "https")
SOURCES: tuple[str, ...] = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "file")
_NEVER = frozenset('\\"<>` ')
_BRACKETS = frozenset("[]")
_HOST = re.compile(r"(?!\.)(?:[A-Za-z0-9_-]{1,63}(?:\.|$))+")
_PORT = re.compile(r"[0-9]{1,5}")
_PORTS = range(1, 65536)
_MAX_HOST = 253
_CUT_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")


class BadUrl(ValueError):
    """A URL that cannot be used; the message says why, and holds nothing of it."""


def read(text: str, schemes: Collection[str]) -> SplitResult:
    """Read a URL: without blanks around it, scheme and host in lower case; `geturl()` gives it back.

    Raises:
        BadUrl: it is none of these schemes, or may be understood in two ways.
    """
    url = text.strip()
    if len(url) > MAX_LENGTH:
        raise BadUrl("it is too long")
    if not url.isprintable() or not _NEVER.isdisjoint(url):
        raise BadUrl('it holds a blank, a \\, ", `, <, > or what cannot be seen: write it quoted, as %20')
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in schemes:
        raise BadUrl(f"it must start with {', '.join(f'{one}://' for one in schemes)}")
    authority, rest = _authority(rest)
    user_info, at, place = authority.rpartition("@")
    if "@" in rest or "@" in user_info or "#" in rest or _CUT_PERCENT.search(user_info):
        raise BadUrl(
            "it holds an @, # or % that may be part of a password: write %40, %23, %25, and / as %2F, ? as %3F"
        )
    if _QUOTED_CONTROL.search(authority + rest):
        raise BadUrl("it holds a control character, as %0A")
    if scheme == "file":
        if authority or "?" in rest or not rest.startswith("/"):
            raise BadUrl("a file is written as file:///absolute/path, ? as %3F")
        return urlsplit(f"file://{rest}")
    if not _BRACKETS.isdisjoint(user_info):
        raise BadUrl("it holds a [ or ] in its password: write %5B, %5D")
    return urlsplit(f"{scheme}://{user_info}{at}{_netloc(place)}{rest}")


def shown(text: str) -> str:
    """Return what may be shown of a URL: where it leads, and that something is left out."""
    scheme, found, rest = text.strip().partition("://")
    authority, rest = _authority(rest)
    try:
        # Of an `@` after the host nobody knows whether it ends a password.
        netloc = "" if "@" in rest or not found else _netloc(authority.rpartition("@")[2])
    except BadUrl:
        netloc = ""
    return f"{scheme.lower()}://{netloc}/…" if netloc and scheme.isascii() else "***"


def _authority(rest: str) -> tuple[str, str]:
    end = min((at for sign in "/?#" if (at := rest.find(sign)) >= 0), default=len(rest))
    return rest[:end], rest[end:]


def _netloc(text: str) -> str:
    """Return host and port as they are written in a URL."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        try:
            host = f"[{IPv6Address(host)}]"
        except ValueError:
            raise BadUrl("an IPv6 address is written like [2001:db8::1]") from None
        if not bracket or port[:1] not in {"", ":"}:
            raise BadUrl("after the host come a : and a port")
        port = port[1:]
    else:
        host, _, port = text.partition(":")
        host = _host(host)
    if port and not (_PORT.fullmatch(port) and int(port) in _PORTS):
        raise BadUrl("a port is a number from 1 to 65535")
    return f"{host}:{int(port)}" if port else host


def _host(host: str) -> str:
    if len(host) <= _MAX_HOST and not host.isascii():
        try:
            ascii_form = host.encode("idna").decode("ascii")
            # Where they differ, readers of different age make different hosts of one name.
            host = ascii_form if ascii_form.encode("ascii").decode("idna") == host.lower() else ""
        except UnicodeError:
            host = ""
    if len(host) > _MAX_HOST or not _HOST.fullmatch(host):
        raise BadUrl("it must name a host")
    return host.lower()
