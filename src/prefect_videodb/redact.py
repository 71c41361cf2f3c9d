"""Keep secrets, and what only looks like text, out of what people and logs read."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.urls import SOURCE, STREAM_SCHEMES, place_of, read, secrets_of

BLOT = "***"
# Shorter pieces are not blotted out on their own: "a" is no secret, and blotting it out would shred the message.
MIN_SECRET = 4
# A shorter secret may be a part of an ordinary word: it is blotted out where it stands as a word of its own.
_MIN_SUBSTRING = 8
# The documented key of the local server, which says `the local server` in its messages.
_PUBLIC = "local"
# A part of a webhook's path as long as this may be the token that guards it.
_MIN_TOKEN = 12
# Keys of an answer whose values are secrets wherever they came from: a token in a callback's address, a meeting's
# password, what a caller wants to be told back.
_KEPT_BACK = frozenset({"callback_url", "callback_data", "meeting_url", "token", "websocket_url"})
_KEPT_BACK_TEXT = re.compile(
    rf'("(?:{"|".join(sorted(_KEPT_BACK))})"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|[\[{{].*)', re.DOTALL
)
# Looked for from the slashes, which may be escaped as in JSON, or quoted as in another URL's query: from the scheme,
# each letter of a long word would begin one that is read to the word's end.
_SLASHES = re.compile(r"://|:\\/\\/|%3A%2F%2F", re.IGNORECASE)
_REST = re.compile(r"[^\s\"<>]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}\Z")
_MAX_SCHEME = 31
_SENTENCE = ".,;:!?'"
_STREAM = rf"(?:{'|'.join(sorted(STREAM_SCHEMES))}|rtmp[a-z]{{1,3}})"
_STREAM_SCHEME = re.compile(rf"{_STREAM}\Z", re.IGNORECASE)
_STREAM_URL = re.compile(rf"{_STREAM}://", re.IGNORECASE)
_WORD = re.compile(r"\w")
# Before a word: no letter, or the end of a quoted character, as in `%20cam1`, or an escaped one, as in `\ncam1`.
_BEFORE_WORD = r"(?:(?<!\w)|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"
# What is printable for Unicode and shows nothing: fillers, and the blank of braille.
_FILLERS = dict.fromkeys(map(ord, "\u034f\u115f\u1160\u2800\u3164\uffa0"), " ")
_LONGEST = 2000


def redact_url(url: str) -> str:
    """Show where a URL leads and nothing that may be a secret: scheme, host and port.

    Stream keys and tokens stand in user info, queries and paths alike, so none of them is shown.
    """
    return place_of(url) or BLOT


def may_hold_secret(url: str) -> bool:
    """Whether a source URL has a part that may be a secret, or cannot be read for sure."""
    try:
        return read(url, SOURCE).may_hold_secret
    except ConfigurationError:
        return True


def url_secrets(url: str) -> tuple[str, ...]:
    """List what must not be shown of a source URL, longest first: itself, and its parts that may be a secret."""
    return _longest_first(secrets_of(url))


def webhook_secrets(url: str) -> tuple[str, ...]:
    """List what must not be shown of an address to be called back: also a token in its path."""
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    parts = {unquote(part) for part in path.split("/") if len(part) >= _MIN_TOKEN}
    return _longest_first(secrets_of(url) | parts)


def _longest_first(pieces: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted((piece for piece in pieces if len(piece) >= MIN_SECRET), key=lambda one: (-len(one), one)))


def foreign(text: object, secrets: Iterable[str] = (), *, longest: int = _LONGEST) -> str:
    """Make what comes from outside fit to stand in a message or log line: one visible line, no secret, not too long.

    Args:
        text: what somebody else said.
        secrets: what must not be shown.
        longest: the most characters that are shown.
    """
    return truncate(one_line(scrub_answer(str(text), secrets)), longest)


def one_line(text: str) -> str:
    """Make any text one line of visible characters: no control codes, no change of direction, nothing of no width."""
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(text.translate(_FILLERS).split())


def truncate(text: str, longest: int) -> str:
    """Cut a text to so many characters, and show that it was."""
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"


def scrub_answer(text: str, secrets: Iterable[str] = ()) -> str:
    """Blot out of an answer the given secrets, and the values that are secrets whatever they are."""
    if any(f'"{key}"' in text for key in _KEPT_BACK):
        try:
            text = json.dumps(_without_kept_back(json.loads(text)), ensure_ascii=False)
        except (ValueError, RecursionError):
            # No JSON, or no whole one: where a value's end is not sure, nothing after it is shown.
            text = _KEPT_BACK_TEXT.sub(rf'\1"{BLOT}"', text)
    return scrub(text, secrets)


def scrub_values(value: Any) -> Any:
    """Blot out of an answer that was read the values that are secrets whatever they are, and user info in URLs."""
    return _without_kept_back(value, scrub)


def _without_kept_back(value: Any, show: Callable[[str], str] = str) -> Any:
    if isinstance(value, dict):
        return {
            key: BLOT if key in _KEPT_BACK and inner is not None else _without_kept_back(inner, show)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_kept_back(inner, show) for inner in value]
    return show(value) if isinstance(value, str) else value


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Blot out the given secrets, any user info in a URL, and all of a stream's URL but where it leads.

    For text from outside only: of what this package says itself a short secret would blot out a word.
    """
    for secret in secrets:
        for spelling in _spellings(secret):
            text = _without(text, spelling)
    return _replace_urls(text, _without_user_info)


def redact_urls(text: str) -> str:
    """Show of every URL in a text only where it leads."""
    return _replace_urls(text, redact_url)


def _without(text: str, spelling: str) -> str:
    if spelling not in text:
        return text
    if len(spelling) >= _MIN_SUBSTRING:
        return text.replace(spelling, BLOT)
    before = _BEFORE_WORD if _WORD.match(spelling[0]) else ""
    after = r"(?!\w)" if _WORD.match(spelling[-1]) else ""
    return re.sub(f"{before}{re.escape(spelling)}{after}", BLOT, text)


def _without_user_info(url: str) -> str:
    scheme, _, rest = url.partition("://")
    user_info, at, place = rest.rpartition("@")
    # Of an `@` after the host nobody knows whether it ends a password, and a URL may hold another one, quoted.
    if _STREAM_SCHEME.search(scheme) or re.search(r"[/?#]", user_info) or _STREAM_URL.search(unquote(rest)):
        return redact_url(url)
    return f"{scheme}://{BLOT}@{place}" if at else url


def _replace_urls(text: str, show: Callable[[str], str]) -> str:
    pieces: list[str] = []
    end = 0
    for slashes in _SLASHES.finditer(text):
        scheme = _SCHEME.search(text[max(end, slashes.start() - _MAX_SCHEME) : slashes.start()])
        if slashes.start() < end or not scheme:
            continue
        start = slashes.start() - len(scheme[0])
        pieces.append(text[end:start])
        rest = _REST.match(text, slashes.end())
        end = rest.end() if rest else slashes.end()
        pieces.append(_shown(text[start:end], show))
    return "".join([*pieces, text[end:]])


def _shown(found: str, show: Callable[[str], str]) -> str:
    """Show what looks like a URL in a text; what ends the sentence is no part of it, and a scheme alone is none."""
    written = found.rstrip(_SENTENCE)
    url = written.replace("\\/", "/")
    url = url if "://" in url else unquote(url)
    shown = url if url.rstrip("\u2026").endswith("://") else show(url)
    return found if shown == url else shown + found[len(written) :]


def _spellings(secret: str) -> Iterator[str]:
    """Give the ways in which a text may spell a secret: as it is, in JSON, in a URL; the longest first."""
    if not secret or secret == _PUBLIC:
        return
    in_json = json.dumps(secret)[1:-1]
    # A lone surrogate has no place in a URL, and none in an answer that came in UTF-8.
    in_url = {quote(secret, safe=safe, errors="replace") for safe in ("", "/", ":/")}
    unicode = json.dumps(secret, ensure_ascii=False)[1:-1]
    spellings = {in_json.replace("/", "\\/"), unicode.replace("/", "\\/"), in_json, unicode, secret} | in_url
    yield from sorted(spellings, key=len, reverse=True)
