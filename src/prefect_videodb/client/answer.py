"""Read what the service answers: envelope, errors, jobs. Pure, no I/O."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from prefect_videodb.client.call import Call, Job
from prefect_videodb.errors import (
    AuthenticationError,
    InvalidRequest,
    JobFailed,
    NoSpokenWords,
    NotFound,
    NothingFound,
    NotSupported,
    OutOfCredits,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
    UnexpectedAnswer,
)
from prefect_videodb.redact import foreign, one_line, redact_url, scrub_answer

T = TypeVar("T")

# The states of a job that is not done; any other ends the polling, as in the vendor's SDK.
_UNDER_WAY = frozenset({"processing", "in progress", "pending"})
_OK = range(200, 300)
_REDIRECT = range(300, 400)
_SERVER_ERROR = 500
_EXCERPT = 300
_MAX_VALUES = 2_000_000
# Of the body an error keeps so much: it goes into logs and results.
_LONGEST_TEXT_BYTES = 1 << 16
_CUT_MARGIN = 1 << 12
# In JSON a character may be written as a backslash, a `u` and four digits.
_LONGEST_SPELLING = 6

# Refused before the request was looked at: what the message seems to say about its outcome does not count.
_NOT_LOOKED_AT = frozenset({401, 402, 429})
# Silence is "no spoken data found"; "no spoken_word index" is none.
_SILENCE = re.compile(r"no spoken (?:data|words?)\b(?! index)")

_BY_STATUS: dict[int, type[ServiceError]] = {
    401: AuthenticationError,
    402: OutOfCredits,
    404: NotFound,
    429: RateLimited,
    501: NotSupported,
}


_ADVICE: dict[type[ServiceError], str] = {
    AuthenticationError: "check the API key of {account}, or in VIDEO_DB_API_KEY, and its base URL",
    OutOfCredits: "top up the credits of {account} at VideoDB, then run this again",
    NotFound: "check the id, and that {account} is of the account that has it",
    RateLimited: "too many requests at a time: try later",
    ServiceUnavailable: "the service or a gateway before it failed: try later",
}


class Answer:
    """One HTTP answer, taken apart: status, headers, body, the secrets that no message may show, and who answered."""

    __slots__ = ("account", "body", "headers", "host", "secrets", "status")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        secrets: Iterable[str] = (),
        *,
        host: str = "",
        account: str = "",
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.secrets = tuple(secrets)
        self.host = host
        self.account = account or "the VideoDBCredentials block"

    @property
    def text(self) -> str:
        """The body for people: decoded, secrets blotted out, no more of it than the beginning."""
        if len(self.body) <= _LONGEST_TEXT_BYTES:
            return scrub_answer(self.body.decode("utf-8", "replace"), self.secrets)
        # A secret that the cut goes through is not recognized: what may hold the rest of one is left out.
        margin = max(_CUT_MARGIN, *(_LONGEST_SPELLING * len(secret) for secret in self.secrets), 0)
        kept = self.body[: _LONGEST_TEXT_BYTES + margin].decode("utf-8", "replace")
        shown = scrub_answer(kept, self.secrets)
        return shown[: max(0, len(shown) - margin)][:_LONGEST_TEXT_BYTES]


def read(call: Call[T], answer: Answer) -> T | Job[T]:
    """Make an HTTP answer into the call's result, or into the job that will bring it.

    Raises:
        ServiceError: the service refused or failed.
        UnexpectedAnswer: the answer cannot be read.
    """
    envelope = _envelope(call, answer)
    if call.whole_envelope:
        return _result(call, envelope, answer)
    if envelope.get("status") == "processing":
        if envelope.get("request_type") == "async":
            return _result(call, None, answer)  # a callback brings the result: there is nothing to wait for
        data = envelope.get("data")
        output_url = data.get("output_url") if isinstance(data, dict) else None
        if isinstance(output_url, str) and output_url:
            return Job(call, output_url, _percentage(envelope))
        if envelope.get("success") and not data:
            _unexpected(call, answer, "under way, but not where to ask for the result")
    if not envelope.get("success"):
        _refuse(call, answer, envelope)
    return _result(call, envelope.get("data"), answer)


def read_poll(job: Job[T], answer: Answer) -> T | Job[T]:
    """Make the answer of a job's `output_url` into the job's result, or into the job as it stands now.

    Raises:
        ServiceError: the job failed, or the service refused to tell.
        UnexpectedAnswer: the answer cannot be read.
    """
    envelope = _envelope(job.call, answer)
    status = envelope.get("status")
    if isinstance(status, str) and status in _UNDER_WAY:
        return Job(job.call, job.output_url, _percentage(envelope))
    final = envelope.get("response") or envelope
    if not isinstance(final, dict):
        _unexpected(job.call, answer, "the job's response is no object")
    if not final.get("success"):
        _refuse(job.call, answer, final, otherwise=JobFailed)
    return _result(job.call, final.get("data"), answer)


def _envelope(call: Call[Any], answer: Answer) -> dict[str, Any]:
    if answer.status in _REDIRECT:
        # The key goes to the configured host only, so a redirect is not followed.
        target = redact_url(answer.headers.get("location", ""))
        _unexpected(call, answer, f"a redirect to {target}; set the base URL to where the service really is")
    # In memory a value takes up to thirty times what it takes in JSON.
    too_many = sum(map(answer.body.count, (b",", b"[", b"{"))) > _MAX_VALUES
    try:
        envelope = None if too_many else from_json(answer.body)
    except ValueError:
        envelope = None
    if answer.status not in _OK:
        _refuse(call, answer, envelope if isinstance(envelope, dict) else {})
    if not isinstance(envelope, dict):
        _unexpected(call, answer, f"more than {_MAX_VALUES} values" if too_many else "no JSON object")
    return envelope


def _refuse(
    call: Call[Any],
    answer: Answer,
    envelope: dict[str, Any],
    otherwise: type[ServiceError] = InvalidRequest,
) -> NoReturn:
    told = str(envelope.get("message") or envelope.get("error") or envelope.get("detail") or "")
    kind = _kind(answer.status, told.lower(), otherwise)  # read before anything in it is blotted out
    raw = answer.text
    message = foreign(told, answer.secrets) or one_line(raw[:_EXCERPT]) or "no message"
    text = f"{_asked(call, answer)}: {message} (HTTP {answer.status}){_advice(kind, answer, envelope)}"
    safe = call.repeatable if kind is ServiceUnavailable else None
    error = kind(text, status=answer.status, raw=raw, retry_is_safe=safe)
    if isinstance(error, RateLimited | ServiceUnavailable):
        error.retry_after_s = _retry_after_s(answer.headers.get("retry-after"))
    raise error


def _asked(call: Call[Any], answer: Answer) -> str:
    return f"{call} at {answer.host}" if answer.host else str(call)


def _advice(kind: type[ServiceError], answer: Answer, envelope: dict[str, Any]) -> str:
    """Return what the reader can do about an error, where that is known."""
    if kind in _ADVICE and (kind is not NotFound or "success" in envelope):
        return f"; {_ADVICE[kind].format(account=answer.account)}"
    # Whatever answers in another form is not the service: a gateway, another program on the port, a wrong path.
    if kind in {NotFound, InvalidRequest} and "success" not in envelope:
        return f"; what answers there may not be VideoDB: check the base URL of {answer.account}"
    return ""


def _kind(status: int, told: str, otherwise: type[ServiceError]) -> type[ServiceError]:
    """Tell which error it is, by what the service told in its envelope, in lower case, and by the HTTP status."""
    if status not in _NOT_LOOKED_AT:
        # With which status these two come is not known.
        if "no results found" in told:
            return NothingFound
        if _SILENCE.search(told):
            return NoSpokenWords
    if status >= _SERVER_ERROR and status not in _BY_STATUS:
        return ServiceUnavailable
    return _BY_STATUS.get(status, otherwise if status in _OK else InvalidRequest)


def _result(call: Call[T], data: Any, answer: Answer) -> T:
    try:
        return call.read(data)
    except ValidationError as error:
        # Named by field and rule only: the values may hold secrets.
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in error.errors())
    return _unexpected(call, answer, foreign(faults, answer.secrets) or "nothing")


def _unexpected(call: Call[Any], answer: Answer, what: str) -> NoReturn:
    raw = answer.text
    said = one_line(raw[:_EXCERPT])
    raise UnexpectedAnswer(
        f"{_asked(call, answer)}: the service answered what cannot be read ({what}; HTTP {answer.status}): {said!r}",
        status=answer.status,
        raw=raw,
    )


def _percentage(envelope: dict[str, Any]) -> float | None:
    data = envelope.get("data")
    value = data.get("percentage") if isinstance(data, dict) else None
    number = _finite(value) if isinstance(value, int | float | str) else None
    return None if number is None else min(100.0, max(0.0, number))


def _retry_after_s(value: str | None) -> float | None:
    """Read `Retry-After`: seconds or an HTTP date."""
    if value is None:
        return None
    seconds = _finite(value)
    if seconds is None:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds)


def _finite(value: float | str) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
