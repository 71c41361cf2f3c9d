"""Read a file from a link, once from front to back, however often the connection breaks off.

The link is a secret: who has it may download. So it is fetched with the client's own transport, which logs nothing, and
no error shows more of it than where it leads. The API key is not sent along. Links and redirects are followed to public
hosts and to the service itself: see `client/hosts.py`.
"""

import hashlib
import http.client
import re
import string
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Self
from urllib.parse import quote

import httpx

from prefect_videodb._logging import get_logger
from prefect_videodb._version import __version__
from prefect_videodb.archiving.parts import MAX_OBJECT_BYTES
from prefect_videodb.client.hosts import LinkRefused, LinkRule, PrivateAddress, origin
from prefect_videodb.client.transport import Connection, open_connection, proxy_of
from prefect_videodb.errors import (
    AnswerLost,
    ConfigurationError,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
    StorageError,
    UnexpectedAnswer,
    VideoDBError,
)
from prefect_videodb.redact import foreign, redact_url, webhook_secrets
from prefect_videodb.urls import LINK, read

_CHUNK_BYTES = 1 << 18
_TRIES = 6
_PAUSE_S = 0.25
# A connection that brought so much was of use: the next one that breaks off is the first again.
_OF_USE_BYTES = 16 * 1024 * 1024
# As urllib itself quotes what it is redirected to: a link may hold what no request line can.
_NOT_QUOTED = "".join(set(string.punctuation) - set('@"\\<>`'))
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_HEADERS = {"User-Agent": f"prefect-videodb/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
_SUCCESS = range(200, 300)
_SERVER_ERROR = 500
_BROKEN = (OSError, http.client.HTTPException, httpx.TransportError)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_ADVICE = "; of a store inside your own network, switch on 'Allow private hosts' in the RecordingArchive block"


class Download:
    """A file that a link leads to; close it, or use it as a context manager.

    Args:
        url: the link.
        timeout_s: how long it may take until the file begins to come, redirects included, and then for each 256 KiB of
            it, in seconds.
        where: what the file is, for messages.
        rule: where the link and its redirects may lead.

    Attributes:
        length: of the file, in bytes.
        content_type: `video/…` or `audio/…`.

    Raises:
        StorageError: the file is larger than an object of a store may be.
        VideoDBError: the link leads to nothing that can be archived.
    """

    def __init__(self, url: str, *, timeout_s: float, where: str, rule: LinkRule) -> None:
        self._timeout_s = timeout_s
        self._what = f"the download of {where} from {redact_url(url)}"
        scheme, slashes, rest = url.strip().partition("//")
        place, slash, path = rest.partition("/")
        self._url = self._checked(scheme + slashes + place + slash + quote(path, safe=_NOT_QUOTED))
        self._rule = rule
        self._connection: Connection | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._answer = self._tried(0, hashlib.sha256())
        headers = self._answer.headers
        # Only a strong validator tells that the bytes are the same.
        etag = headers.get("etag") or ""
        self._validator = etag if etag.startswith('"') else headers.get("last-modified")
        self.content_type = _media_type(headers.get_content_type())
        self.length = self._answer.length or 0
        self._check_content(headers.get("content-encoding") or "identity", headers.get_content_maintype())

    def chunks(self) -> Iterator[bytes]:
        """Yield the file, from its first byte to its last.

        Raises:
            AnswerLost: the connection broke off again and again.
            UnexpectedAnswer: meanwhile the file became another one.
            VideoDBError: the link is good no more.
        """
        seen = hashlib.sha256()
        at, last_break, failures = 0, 0, 0
        while at < self.length:
            answer = self._answer or self._tried(at, seen)
            self._answer = answer
            reason = "the other end closed it"
            try:
                while at < self.length and (chunk := self._read(answer, self.length - at)):
                    at += len(chunk)
                    seen.update(chunk)
                    yield chunk
            except _BROKEN as error:
                reason = self._told(error)
            self.close()
            if at < self.length:
                failures = 1 if at - last_break >= _OF_USE_BYTES else failures + 1
                last_break = at
                self._pause(failures, f"broke off after {at} of {self.length} bytes: {reason}")

    def _tried(self, at: int, seen: "hashlib._Hash") -> http.client.HTTPResponse:
        """Open the file at a byte, in several tries. `seen` is the hash of what comes before."""
        failures = 0
        while True:
            failures += 1
            try:
                answer = self._opened(at, seen)
            except LinkRefused as reason:
                self.close()
                advice = _ADVICE if isinstance(reason, PrivateAddress) else ""
                raise UnexpectedAnswer(f"{self._what} is not followed: {reason}{advice}") from None
            except _BROKEN as error:
                self.close()
                self._pause(failures, f"cannot be begun: {self._told(error)}")
                continue
            except BaseException:
                self.close()
                raise
            if answer.status in _SUCCESS:
                return answer
            self.close()
            if answer.status < _SERVER_ERROR and answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise self._refused(answer.status)
            if failures == _TRIES:
                raise ServiceUnavailable(
                    f"{self._what} fails: HTTP {answer.status}", status=answer.status, retry_is_safe=True
                )
            self._pause(failures, f"is answered with HTTP {answer.status}")

    def _opened(self, at: int, seen: "hashlib._Hash") -> http.client.HTTPResponse:
        headers = dict(_HEADERS)
        if at:
            headers["Range"] = f"bytes={at}-"
            headers |= {"If-Range": self._validator} if self._validator else {}
        answer = self._followed(headers, time.monotonic() + self._timeout_s)
        if at and answer.status in _SUCCESS:
            self._go_to(at, seen, answer)
        return answer

    def _followed(self, headers: dict[str, str], deadline: float) -> http.client.HTTPResponse:
        """Ask for the file, and follow the redirects, each to where a link may lead."""
        url, came_from = self._link(self._url), None
        for _ in range(_MAX_REDIRECTS + 1):
            to = origin(url)
            admits = self._rule.check(url, came_from=came_from, proxied=proxy_of(to) is not None)
            self._connection = open_connection(to, deadline, admits=admits)
            self._connection.set_deadline(deadline)
            answer = self._connection.ask(httpx.Request("GET", url, headers=headers))
            if answer.status not in _REDIRECTS:
                return answer
            self._connection.close()
            answer.close()
            url, came_from = self._link(answer.headers.get("location") or "", url), url
        raise LinkRefused(f"it is redirected more than {_MAX_REDIRECTS} times")

    @staticmethod
    def _link(link: str, at: httpx.URL | None = None) -> httpx.URL:
        try:
            # As browsers quote what they are redirected to: a link may hold what no request line can.
            url = httpx.URL(quote(link.strip(), safe=string.punctuation))
            url = at.join(url) if at else url
        except (httpx.InvalidURL, ValueError):
            raise LinkRefused("it is no http URL") from None
        if url.scheme not in {"http", "https"}:
            raise LinkRefused("it is no http URL")
        return url

    def _read(self, answer: http.client.HTTPResponse, most: int) -> bytes:
        if self._connection is not None and self._connection.sock is not None:
            self._connection.set_deadline(time.monotonic() + self._timeout_s)
        return answer.read(min(_CHUNK_BYTES, most))

    def _go_to(self, at: int, seen: "hashlib._Hash", answer: http.client.HTTPResponse) -> None:
        """Bring an answer to a byte: it begins there, or it begins anew and what was read already is read over."""
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            found = _RANGE.fullmatch(answer.headers.get("content-range") or "")
            if not found or int(found[1]) != at or found[2] not in {"*", str(self.length)}:
                raise self._changed()
            return
        if answer.length != self.length:
            raise self._changed()
        again, left = hashlib.sha256(), at
        while left:
            chunk = self._read(answer, left)
            if not chunk:
                raise ConnectionError("the other end closed it")
            again.update(chunk)
            left -= len(chunk)
        if again.digest() != seen.digest():
            raise self._changed()

    def _pause(self, failures: int, trouble: str) -> None:
        if failures >= _TRIES:
            raise AnswerLost(f"{self._what} {trouble}; given up after {failures} tries", retry_is_safe=True) from None
        get_logger().warning("%s %s; trying again", self._what.capitalize(), trouble)
        time.sleep(_PAUSE_S * 2 ** (failures - 1))

    def _checked(self, url: str) -> str:
        try:
            return read(url, LINK).text.partition("#")[0]
        except ConfigurationError as unusable:
            raise UnexpectedAnswer(f"{self._what}: the link is no http URL that can be fetched: {unusable}") from None

    def _check_content(self, encoding: str, main_type: str) -> None:
        if self.length > MAX_OBJECT_BYTES:
            self.close()
            raise StorageError(
                f"{self._what} says that it has {self.length} bytes: a store takes {MAX_OBJECT_BYTES} (5 TiB) at most"
            )
        trouble = ""
        if not self.length:
            trouble = "it is empty, or its length is not told, so that its end could not be told from a broken line"
        elif main_type == "text":
            trouble = "it is text, and no video"
        elif encoding != "identity":
            trouble = f"it is encoded ({foreign(encoding, longest=20)})"
        if trouble:
            self.close()
            raise UnexpectedAnswer(f"{self._what} cannot be archived: {trouble}", status=HTTPStatus.OK)

    def _refused(self, status: int) -> VideoDBError:
        """A link expires: the next try asks VideoDB for another one."""
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return self._changed()
        kind = NotFound if status in _GONE else InvalidRequest
        told = f"{self._what} is refused (HTTP {status}): the link may have expired, or leads elsewhere"
        return kind(told, status=status, retry_is_safe=True)

    def _changed(self) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            f"{self._what}: the file became another one while it was read; it must be read anew", retry_is_safe=True
        )

    def _told(self, error: Exception) -> str:
        """Say what broke. What http.client says of a bad URL shows it, so of that only the kind is told."""
        if isinstance(error, OSError | httpx.TransportError):
            return foreign(error, webhook_secrets(self._url)) or type(error).__name__
        return type(error).__name__

    def close(self) -> None:
        """Close the connection."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _media_type(told: str) -> str:
    return told if told.startswith(("video/", "audio/")) else "video/mp4"
