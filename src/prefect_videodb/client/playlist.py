"""What an HLS playlist says that it plays.

It is read without the API key and without redirects. Its link may be a secret, and is in no error.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import httpx

from prefect_videodb.client.body import UnreadableBody
from prefect_videodb.client.hosts import LinkRefused, LinkRule, of_service, origin
from prefect_videodb.client.transport import exchange_once, proxy_of
from prefect_videodb.errors import NotFound, UnexpectedAnswer

_MAX_VARIANT_DEPTH = 1
_TIME = "#EXT-X-PROGRAM-DATE-TIME:"
_DURATION = "#EXTINF:"
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


@dataclass(frozen=True, slots=True)
class Playlist:
    """How many segments it plays, until when they were recorded where it says so, and the first of its variants."""

    segments: int = 0
    until: datetime | None = None
    variant: str | None = None


def parse_playlist(text: str) -> Playlist:
    """Read an HLS playlist.

    Raises:
        UnexpectedAnswer: it is none.

    Source: RFC 8216
    """
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    if not lines or lines[0] != "#EXTM3U":
        raise UnexpectedAnswer("what should be an HLS playlist is none")
    segments, at = 0, None
    is_variant = False
    for line in lines:
        if line.startswith("#EXT-X-STREAM-INF"):
            is_variant = True
        elif is_variant and line and not line.startswith("#"):
            return Playlist(variant=line)
        elif line.startswith(_TIME):
            at = _moment(line.removeprefix(_TIME))
        elif line.startswith(_DURATION):
            segments += 1
            at = _later(at, line.removeprefix(_DURATION).partition(",")[0])
    return Playlist(segments, at)


def read_playlist(url: str, *, base_url: str, timeout_s: float) -> Playlist:
    """Read the playlist that a link of the service leads to; of several variants, the first.

    Args:
        url: a `stream_url`.
        base_url: of the service: links lead to it, or to public hosts.
        timeout_s: how long it may take, in seconds.

    Raises:
        NotFound: there is nothing at the link.
        UnexpectedAnswer: it leads to no playlist.
    """
    rule = of_service(base_url)
    for _ in range(_MAX_VARIANT_DEPTH + 1):
        playlist = parse_playlist(_read(url, rule, timeout_s))
        if playlist.variant is None:
            return playlist
        try:
            url = str(httpx.URL(url).join(playlist.variant))
        except (httpx.InvalidURL, ValueError):
            break
    raise UnexpectedAnswer("what should be an HLS playlist leads to other playlists only")


def _read(url: str, rule: LinkRule, timeout_s: float) -> str:
    try:
        link = httpx.URL(url)
        admits = rule.check(link, proxied=proxy_of(origin(link)) is not None)
        request = httpx.Request("GET", link, headers={"accept-encoding": "identity"})
        answer = exchange_once(request, timeout_s, admits)
    except LinkRefused as reason:
        raise UnexpectedAnswer(f"the HLS playlist is not read: {reason}") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnreadableBody) as error:
        raise UnexpectedAnswer(f"the HLS playlist cannot be read: {type(error).__name__}") from None
    if answer.status in _GONE:
        raise NotFound("there is no HLS playlist at its link", status=answer.status)
    if answer.status != HTTPStatus.OK:
        raise UnexpectedAnswer(f"the HLS playlist is answered with HTTP {answer.status}", status=answer.status)
    return answer.body.decode("utf-8", "replace")


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _later(moment: datetime | None, seconds: str) -> datetime | None:
    try:
        return moment and moment + timedelta(seconds=float(seconds))
    except (ValueError, OverflowError):
        return None
