"""Keep secrets out of what people and logs read."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

BLOT = "***"
# Shorter pieces are not blotted out on their own: "a" is no secret, and blotting it out would shred the message.
_SHORTEST = 4
# A part of a webhook's path as long as this may be the token that guards it.
_SHORTEST_TOKEN = 12
# Keys of an answer whose values are secrets wherever they came from: a token in a callback's address, a meeting's
# password, what a caller wants to be told back.
_KEPT_BACK = frozenset({"callback_url", "callback_data", "meeting_url", "token", "websocket_url"})
_KEPT_BACK_TEXT = re.compile(
    rf'("(?:{"|".join(sorted(_KEPT_BACK))})"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|[\[{{].*)', re.DOTALL
)
# To the last `@` before the path: a password that should have been quoted may hold one itself.
_USERINFO = re.compile(r"(?<=://)[^\s/\"'<>]+@")

# Of a live source the key may stand anywhere in the URL, and no message needs more of it than where it leads.
_STREAM_URL = re.compile(r"\b(?:rtsps?|rtmp[a-z]*|srt)://[^\s\"'<>]+", re.IGNORECASE)
_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>]+")


def redact_url(url: str) -> str:
    """Show where a URL leads and nothing that may be a secret: scheme, host and port.

    Stream keys and tokens stand in user info, queries and paths alike, so none of them is shown.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return BLOT
    if not parts.scheme or not host:
        return BLOT
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}/…"


def url_secrets(url: str) -> tuple[str, ...]:
    """List what must not be shown of a source URL, longest first: itself, and its parts that may be a secret."""
    try:
        parts = urlsplit(url)
        # A user without a password is a token.
        password = parts.password or parts.username or ""
    except ValueError:
        return (url,)
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    # A password that should have been quoted may hold a slash, which ends the host for a parser: read to the last `@`.
    user_info = url.partition("://")[2].rpartition("@")[0]
    pieces = {url, password, user_info.partition(":")[2], parts.query, *values}
    if parts.scheme.startswith("rtmp"):
        pieces.add(parts.path.rpartition("/")[2])  # RTMP's last path part is the stream key
    pieces |= {unquote(piece) for piece in pieces}
    return tuple(sorted((piece for piece in pieces if len(piece) >= _SHORTEST), key=len, reverse=True))


def webhook_secrets(url: str) -> tuple[str, ...]:
    """List what must not be shown of an address to be called back: also a token in its path."""
    try:
        parts = [unquote(part) for part in urlsplit(url).path.split("/")]
    except ValueError:
        parts = []
    tokens = (part for part in parts if len(part) >= _SHORTEST_TOKEN)
    return tuple(sorted({*url_secrets(url), *tokens}, key=len, reverse=True))


def scrub_answer(text: str, secrets: Iterable[str] = ()) -> str:
    """Blot out of an answer the given secrets, and the values that are secrets whatever they are."""
    if any(f'"{key}"' in text for key in _KEPT_BACK):
        try:
            text = json.dumps(_without_kept_back(json.loads(text)), ensure_ascii=False)
        except (ValueError, RecursionError):
            # No JSON, or no whole one: where a value's end is not sure, nothing after it is shown.
            text = _KEPT_BACK_TEXT.sub(rf'\1"{BLOT}"', text)
    return scrub(text, secrets)


def _without_kept_back(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: BLOT if key in _KEPT_BACK and inner is not None else _without_kept_back(inner)
            for key, inner in value.items()
        }
    return [_without_kept_back(inner) for inner in value] if isinstance(value, list) else value


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Blot out the given secrets, any user info in a URL, and all of a stream's URL but where it leads."""
    for secret in secrets:
        for spelling in _spellings(secret):
            text = text.replace(spelling, BLOT)
    return _STREAM_URL.sub(lambda found: redact_url(found[0]), _USERINFO.sub(f"{BLOT}@", text))


def redact_urls(text: str) -> str:
    """Show of every URL in a text only where it leads."""
    return _URL.sub(lambda found: redact_url(found[0]), text)


def _spellings(secret: str) -> Iterator[str]:
    """Give the ways in which a text may spell a secret: as it is, in JSON, in a URL; the longest first."""
    if not secret:
        return
    in_json = json.dumps(secret)[1:-1]
    # A lone surrogate has no place in a URL, and none in an answer that came in UTF-8.
    in_url = {quote(secret, safe=safe, errors="replace") for safe in ("", "/", ":/")}
    unicode = json.dumps(secret, ensure_ascii=False)[1:-1]
    spellings = {in_json.replace("/", "\\/"), unicode.replace("/", "\\/"), in_json, unicode, secret} | in_url
    yield from sorted(spellings, key=len, reverse=True)


def may_hold_secret(url: str) -> bool:
    """Tell whether a source URL has a part that may be a secret: user info, a query, or an RTMP stream key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return bool(parts.username or parts.password or parts.query or parts.scheme.startswith("rtmp"))
