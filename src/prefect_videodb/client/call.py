"""One request, as a value, and how to read its answer: pure, no I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from prefect_videodb.errors import ConfigurationError
from prefect_videodb.redact import scrub

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Method = Literal["GET", "POST", "PATCH", "DELETE"]
Query = Mapping[str, str | int | float]


def nothing(_answer: object) -> None:
    """Read an answer that holds nothing to rely on."""


@dataclass(frozen=True, slots=True, repr=False)
class Call(Generic[T]):
    """One operation of the service with its arguments: what is sent, and how its answer is read.

    Attributes:
        method: HTTP method.
        path: path below the base URL, each part quoted.
        read: makes the answer's `data` (or the whole envelope) into what the caller gets.
        params: query, absent keys left out.
        json: body; None sends none.
        repeatable: whether sending it twice does no more than sending it once.
        whole_envelope: hand `read` the whole answer; `status: processing` is then the answer itself.
        secrets: values in the request that no message may show.
    """

    method: Method
    path: str
    read: Callable[[Any], T]
    params: Query = field(default_factory=dict)
    json: Any = None
    repeatable: bool = False
    whole_envelope: bool = False
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Call({self})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Prefect may store an error that holds a call: what was sent stays here where a part of it is a secret. To wait
        # for a job, it is not needed.
        sent = ({}, None) if self.secrets else (self.params, self.json)
        return type(self), (self.method, self.path, self.read, *sent, self.repeatable, self.whole_envelope)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True, repr=False)
class Job(Generic[T]):
    """A long job under way at the service.

    Attributes:
        call: the call that started it; its reader reads the result.
        output_url: where it is polled.
        percentage: progress, 0 to 100; None when the service does not say.
    """

    call: Call[T]
    output_url: str
    percentage: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.call, scrub(self.output_url, self.call.secrets), self.percentage)

    def __repr__(self) -> str:
        return f"Job({self.call}, percentage={self.percentage})"


def path(*parts: str) -> str:
    """Join path parts, each quoted, so that no id can lead to another operation.

    Raises:
        ConfigurationError: a part is empty, `.` or `..`, or no text that can be sent.
    """
    for part in parts:
        if not isinstance(part, str) or part.strip() in {"", ".", ".."}:
            raise ConfigurationError(f"{part!r} is not an id; take it from an answer of the service")
    try:
        return "/" + "/".join(quote(part, safe="") for part in parts)
    except UnicodeEncodeError:
        raise ConfigurationError("an id with a lone surrogate cannot be sent; take it from an answer") from None


def present(**values: Any) -> dict[str, Any]:
    """Keep the values that are given: the service tells an absent key from a null."""
    return {key: value for key, value in values.items() if value is not None}
