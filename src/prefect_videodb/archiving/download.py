"""Read a file from a link, once from front to back, however often the connection breaks off.

The link is a secret: who has it may download. So it is fetched with the standard library, which logs nothing, where
httpx logs whole URLs; and no error shows more of it than where it leads. The API key is not sent along.
"""

import hashlib
import http.client
import re
import string
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Self, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

import httpx

from prefect_videodb._logging import get_logger
from prefect_videodb._version import __version__
from prefect_videodb.errors import (
    AnswerLost,
    ConfigurationError,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
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
_SERVER_ERROR = 500
_BROKEN = (OSError, http.client.HTTPException)


class Download:
    """A file that a link leads to; close it, or use it as a context manager.

    Args:
        url: the link.
        timeout_s: how long the other end may be silent, in seconds.
        where: what the file is, for messages.

    Attributes:
        length: of the file, in bytes.
        content_type: `video/…` or `audio/…`.

    Raises:
        VideoDBError: the link leads to nothing that can be archived.
    """

    def __init__(self, url: str, *, timeout_s: float, where: str) -> None:
        self._timeout_s = timeout_s
        self._what = f"the download of {where} from {redact_url(url)}"
        self._url = self._checked(quote(url.strip(), safe=_NOT_QUOTED))
        self._opener = _opener()
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
                while at < self.length and (chunk := answer.read(min(_CHUNK_BYTES, self.length - at))):
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
                return self._opened(at, seen)
            except HTTPError as refusal:
                refusal.close()
                if refusal.code < _SERVER_ERROR and refusal.code != HTTPStatus.TOO_MANY_REQUESTS:
                    raise self._refused(refusal.code) from None
                if failures == _TRIES:
                    raise ServiceUnavailable(
                        f"{self._what} fails: HTTP {refusal.code}", status=refusal.code, retry_is_safe=True
                    ) from None
                self._pause(failures, f"is answered with HTTP {refusal.code}")
            except _BROKEN as error:
                self._pause(failures, f"cannot be begun: {self._told(error)}")

    def _opened(self, at: int, seen: "hashlib._Hash") -> http.client.HTTPResponse:
        headers = dict(_HEADERS)
        if at:
            headers["Range"] = f"bytes={at}-"
            headers |= {"If-Range": self._validator} if self._validator else {}
        request = Request(self._url, headers=headers)  # noqa: S310 - it is http(s), see `_checked`
        answer = cast("http.client.HTTPResponse", self._opener.open(request, timeout=self._timeout_s))
        try:
            if at:
                self._go_to(at, seen, answer)
        except BaseException:
            answer.close()
            raise
        return answer

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
            chunk = answer.read(min(_CHUNK_BYTES, left))
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
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, OSError):
            return foreign(reason, webhook_secrets(self._url)) or type(reason).__name__
        return type(reason).__name__

    def close(self) -> None:
        """Close the connection."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opener() -> OpenerDirector:
    """Give what opens http and https, through the environment's proxy, and nothing else: no files, no FTP."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(context=httpx.create_ssl_context()),  # trusts whom the client trusts
        HTTPRedirectHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _media_type(told: str) -> str:
    return told if told.startswith(("video/", "audio/")) else "video/mp4"
