"""Send calls: `Client` and `AsyncClient`."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import httpx
from pydantic import SecretStr

from prefect_videodb._version import __version__
from prefect_videodb.client.answer import Answer, read, read_poll
from prefect_videodb.client.body import ACCEPT_ENCODING, UnreadableBody
from prefect_videodb.client.call import Call, Job, Query
from prefect_videodb.client.hosts import Admits, LinkRefused, of_service, origin
from prefect_videodb.client.transport import MAX_CONNECTIONS, connections_to, exchange_once, proxy_of
from prefect_videodb.errors import (
    AnswerLost,
    ConfigurationError,
    JobUnfinished,
    NotConnected,
    RateLimited,
    ServiceUnavailable,
    TransportError,
    UnexpectedAnswer,
    VideoDBError,
)
from prefect_videodb.redact import foreign, redact_url, scrub_answer
from prefect_videodb.urls import SERVICE
from prefect_videodb.urls import read as read_url

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")
logger = logging.getLogger(__name__)

BASE_URL = "https://api.videodb.io"
API_KEY_VARIABLE = "VIDEO_DB_API_KEY"
_KEY_HEADER = "x-access-token"
_AGENT = f"prefect-videodb/{__version__}"
_PLAIN_HEADERS = {"user-agent": _AGENT, "accept": "application/json", "accept-encoding": ACCEPT_ENCODING}
# A service that does not answer is looked at less and less often, down to this.
_LONGEST_PAUSE_S = 30.0
# The longest that `Retry-After` keeps a wait from looking again.
_MAX_RETRY_AFTER_S = 300.0
_MOST_DOUBLINGS = 16
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")  # a name, in its ASCII form, or an address
_PORTS = range(1, 65536)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://")
# Raised before a single byte of the request left: repeating is safe whatever the request does.
_NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


# What an exchange ends with where there is no answer that can be read.
_NO_ANSWER = (httpx.HTTPError, UnreadableBody, LinkRefused)


@dataclass(frozen=True, slots=True)
class Polling:
    """How to wait for a long job.

    Attributes:
        timeout_s: how long to wait at most; the job goes on at the service when it is over.
        interval_s: the pause between two looks.
        on_progress: called at each look with the percentage (None when the service does not say).
        on_trouble: called with each look that failed in passing; the next one comes after a longer pause.
    """

    timeout_s: float = 1800.0
    interval_s: float = 2.0
    on_progress: Callable[[float | None], None] | None = None
    on_trouble: Callable[[VideoDBError], None] | None = None


class _Waiting(Generic[T]):
    """One wait for a job: what to do after each look. The clock is monotonic: it never jumps."""

    def __init__(self, job: Job[T], polling: Polling) -> None:
        self.job = job
        self._polling = polling
        self._deadline = time.monotonic() + polling.timeout_s
        self._trouble = ""
        self._asked_s = 0.0
        self._failures = 0
        self._report()

    def pause_s(self) -> float:
        """Give the pause before the next look.

        Raises:
            JobUnfinished: the time is over.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise JobUnfinished(
                f"{self.job.call}: still not done after {self._polling.timeout_s:g} s "
                f"({_percent(self.job.percentage)}){self._trouble}; it goes on at the service: wait again, "
                "or with a longer time-out",
                job=self.job,
                percentage=self.job.percentage,
                retry_is_safe=self.job.call.repeatable,
            )
        interval_s = self._polling.interval_s
        if self._failures:
            interval_s = max(interval_s, min(interval_s * 2.0**self._failures, _LONGEST_PAUSE_S))
        return min(max(interval_s, self._asked_s), left)

    def failed(self, error: VideoDBError) -> None:
        """Take a look that failed: in passing, then it is looked again until the time is over; or for good."""
        if not isinstance(error, TransportError | RateLimited | ServiceUnavailable):
            raise error
        self._trouble = f"; the last look failed: {error}"
        self._asked_s = min(getattr(error, "retry_after_s", None) or 0.0, _MAX_RETRY_AFTER_S)
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        logger.warning("%s: a look at the job failed, looking again: %s", self.job.call, error)
        if self._polling.on_trouble:
            self._polling.on_trouble(error)

    def looked(self, answer: Answer) -> T | Job[T]:
        """Take one look's answer: the result, or the job as it stands."""
        try:
            outcome = read_poll(self.job, answer)
        except (RateLimited, ServiceUnavailable) as error:
            self.failed(error)
            return self.job
        self._trouble, self._asked_s, self._failures = "", 0.0, 0
        if isinstance(outcome, Job):
            self.job = outcome
            self._report()
        return outcome

    def _report(self) -> None:
        if self._polling.on_progress:
            self._polling.on_progress(self.job.percentage)


def _percent(percentage: float | None) -> str:
    return "progress unknown" if percentage is None else f"{percentage:.0f} %"


class Client:
    """Send calls and wait for their results. Safe to share between threads.

    The connections belong to the process (`client/transport.py`): a client costs nothing, and need not be closed.

    Args:
        api_key: the VideoDB API key; never shown, and sent to the host of `base_url` only.
        base_url: where the service is.
        timeout_s: how long one exchange may take, from the first packet to the last byte of the answer, in seconds.
            Long jobs are polled and have their own `Polling`.
        account: what messages call the account, so that their reader knows which key to mend.
    """

    def __init__(
        self, *, api_key: str | SecretStr, base_url: str = BASE_URL, timeout_s: float = 30.0, account: str = ""
    ) -> None:
        self._account = account
        key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        if not key or not key.isascii() or any(character.isspace() or not character.isprintable() for character in key):
            raise ConfigurationError(
                "the VideoDB API key is missing or has characters that no key has: "
                f"set {API_KEY_VARIABLE}, or save a VideoDBCredentials block"
            )
        self.base_url = _usable(base_url)
        self._origin = origin(httpx.URL(self.base_url))
        self._where = redact_url(self.base_url).removesuffix("/…")
        self._secrets = (key,)
        self._headers = _PLAIN_HEADERS | {_KEY_HEADER: key, "x-videodb-client": _AGENT}
        self._timeout_s = timeout_s
        self._links = of_service(self.base_url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def send(self, call: Call[T], *, polling: Polling | None = None) -> T:
        """Send a call, wait for a job if it starts one, and give the result.

        Raises:
            VideoDBError: see the tree in `prefect_videodb.errors`.
        """
        outcome = self.begin(call)
        return self.wait(outcome, polling) if isinstance(outcome, Job) else outcome

    def begin(self, call: Call[T]) -> T | Job[T]:
        """Send a call and do not wait: give its result, or the job that will bring it."""
        return read(call, self._exchange(call, self._request(call), None, repeatable=call.repeatable))

    def wait(self, job: Job[T], polling: Polling | None = None) -> T:
        """Wait for a job.

        Raises:
            JobUnfinished: it outlived the wait; it goes on, and can be waited for again.
        """
        waiting = _Waiting(job, polling or Polling())
        while True:
            time.sleep(waiting.pause_s())
            try:
                answer = self.poll(job)
            except TransportError as error:
                waiting.failed(error)
                continue
            outcome = waiting.looked(answer)
            if not isinstance(outcome, Job):
                return outcome

    def poll(self, job: Job[Any]) -> Answer:
        """Ask once how a job stands."""
        return self._exchange(job.call, *self._poll_request(job), repeatable=True)

    def follow(self, first: Call[T], following: Callable[[T], Call[T] | None]) -> Iterator[T]:
        """Send a call and those that follow from its answers, page by page."""
        call: Call[T] | None = first
        while call is not None:
            page = self.send(call)
            yield page
            call = following(page)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Change nothing: there is nothing to close."""

    def _request(self, call: Call[Any]) -> httpx.Request:
        return self._built(
            call, self.base_url + call.path, method=call.method, params=call.params, json=call.json, key=True
        )

    def _poll_request(self, job: Job[Any]) -> tuple[httpx.Request, Admits | None]:
        """Ask where `output_url` leads, if a link may lead there; the key goes to the configured host only."""
        absolute = _ABSOLUTE.match(job.output_url)
        url = job.output_url if absolute else self.base_url + "/" + job.output_url.lstrip("/")
        leads_to = _origin(url)
        if leads_to is None:
            raise UnexpectedAnswer(
                f"{job.call}: the service names a place to ask for the result that is no http URL",
                raw=scrub_answer(job.output_url, job.call.secrets + self._secrets),
            )
        request = self._built(job.call, url, method="GET", key=leads_to == self._origin)
        try:
            return request, self._links.check(request.url, proxied=proxy_of(leads_to) is not None)
        except LinkRefused as reason:
            raise self._not_followed(job.call, reason) from None

    def _not_followed(self, call: Call[Any], reason: LinkRefused) -> UnexpectedAnswer:
        return UnexpectedAnswer(f"{call} at {self._where}: the place to ask for the result is not asked: {reason}")

    def _built(
        self, call: Call[Any], url: str, *, method: str, key: bool, params: Query | None = None, json: Any = None
    ) -> httpx.Request:
        """Build the request; what cannot be sent shows here, before anything left.

        Raises:
            ConfigurationError: the URL is too long, or an argument is no JSON: a NaN, a lone surrogate, an object.
        """
        try:
            return httpx.Request(
                method,
                url,
                params=params or None,
                json=json,
                headers=self._headers if key else _PLAIN_HEADERS,
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            what = foreign(error, call.secrets + self._secrets)
        raise ConfigurationError(f"{call}: cannot be sent: {what}")

    def _exchange(self, call: Call[Any], request: httpx.Request, admits: Admits | None, *, repeatable: bool) -> Answer:
        try:
            if origin(request.url) == self._origin:
                response = connections_to(self._origin).exchange(request, self._timeout_s)
            else:
                response = exchange_once(request, self._timeout_s, admits)
        except _NO_ANSWER as error:
            failure = self._failure(call, error, repeatable=repeatable)
        else:
            logger.debug("%s: HTTP %s", call, response.status)
            secrets = call.secrets + self._secrets
            return Answer(
                response.status, response.headers, response.body, secrets, host=self._where, account=self._account
            )
        raise failure  # here, so that the first error, which knows the whole request, does not hang on it

    def _failure(
        self, call: Call[Any], error: httpx.HTTPError | UnreadableBody | LinkRefused, *, repeatable: bool
    ) -> VideoDBError:
        if isinstance(error, UnreadableBody):
            return UnexpectedAnswer(f"{call} at {self._where}: the service answered what cannot be read: {error}")
        if isinstance(error, LinkRefused):
            return self._not_followed(call, error)
        what = foreign(error, call.secrets + self._secrets) or type(error).__name__
        if isinstance(error, _NEVER_LEFT):
            return NotConnected(
                f"{call}: cannot connect to {self._where}: {what}; is the base URL right, and the service up?"
            )
        return AnswerLost(
            f"{call}: {self._where} gave no answer: {what}; it may or may not have acted", retry_is_safe=repeatable
        )


class AsyncClient:
    """The same as `Client`, awaited; it belongs to no event loop.

    Each exchange is made in a thread, over the connections of `Client`. If its call is cancelled, it ends by itself,
    after `timeout_s` at the latest. A forked process makes its own client.
    """

    def __init__(
        self, *, api_key: str | SecretStr, base_url: str = BASE_URL, timeout_s: float = 30.0, account: str = ""
    ) -> None:
        self._client = Client(api_key=api_key, base_url=base_url, timeout_s=timeout_s, account=account)
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="videodb")
        self.base_url = self._client.base_url

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    async def send(self, call: Call[T], *, polling: Polling | None = None) -> T:
        """Send a call, wait for a job if it starts one, and give the result.

        Raises:
            VideoDBError: see the tree in `prefect_videodb.errors`.
        """
        outcome = await self.begin(call)
        return await self.wait(outcome, polling) if isinstance(outcome, Job) else outcome

    async def begin(self, call: Call[T]) -> T | Job[T]:
        """Send a call and do not wait: give its result, or the job that will bring it."""
        return await self._in_thread(self._client.begin, call)

    async def wait(self, job: Job[T], polling: Polling | None = None) -> T:
        """Wait for a job.

        Raises:
            JobUnfinished: it outlived the wait; it goes on, and can be waited for again.
        """
        waiting = _Waiting(job, polling or Polling())
        while True:
            await asyncio.sleep(waiting.pause_s())
            try:
                answer = await self._in_thread(self._client.poll, job)
            except TransportError as error:
                waiting.failed(error)
                continue
            outcome = waiting.looked(answer)
            if not isinstance(outcome, Job):
                return outcome

    async def follow(self, first: Call[T], following: Callable[[T], Call[T] | None]) -> AsyncIterator[T]:
        """Send a call and those that follow from its answers, page by page."""
        call: Call[T] | None = first
        while call is not None:
            page = await self.send(call)
            yield page
            call = following(page)

    async def _in_thread(self, work: Callable[[A], R], argument: A) -> R:
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: context.run(work, argument))

    async def close(self) -> None:
        """Let the threads end, each after the exchange that it is making."""
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _usable(base_url: str) -> str:
    url = read_url(base_url, SERVICE).text.rstrip("/")
    if _origin(url) is None:
        raise ConfigurationError(f"the base URL has a host that cannot be asked; {SERVICE.looks}")
    return url


def _origin(url: str) -> tuple[str, str, int] | None:
    """Read where a URL leads, with the parser that the request goes by; None when it is no http URL.

    With two parsers, a URL could be made that one takes for the service and the other for someone else.
    """
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return None
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.raw_host):
        return None
    return origin(parts) if parts.port is None or parts.port in _PORTS else None
