"""One request as an operation sees it, and its answer. Between HTTP (app.py) and the operations (routes/)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from prefect_videodb.local_server.errors import BadRequest
from prefect_videodb.local_server.state import State
from prefect_videodb.local_server.urls import WEB, read

T = TypeVar("T")
# A job that is done within this time is answered at once, as the service does for short work.
GRACE_S = 1.5


class Fields(BaseModel):
    """The fields of a request: unknown ones are ignored as the service does, wrong types are refused, never guessed."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class Parameters(BaseModel):
    """The parameters of a query string: numbers are written as text there."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers."""

    data: Any = None
    status: int = 200
    envelope: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose key is good."""

    state: State
    base_url: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    content: bytes

    def fields(self, model: type["F"]) -> "F":
        """Read the body as an object with these fields.

        Raises:
            BadRequest: saying what is wrong with it.
        """
        return _valid(lambda: model.model_validate(self._json({})))

    def body(self, adapter: TypeAdapter[T]) -> T:
        """Read the body as anything.

        Raises:
            BadRequest: saying what is wrong with it.
        """
        return _valid(lambda: adapter.validate_python(self._json(None)))

    def valid(self, model: type["F"], value: Mapping[str, Any]) -> "F":
        """Read a part of the body whose fields depend on the rest of it.

        Raises:
            BadRequest: saying what is wrong with it.
        """
        return _valid(lambda: model.model_validate(value))

    def parameters(self, model: type["P"]) -> "P":
        """Read the query string.

        Raises:
            BadRequest: saying what is wrong with it.
        """
        return _valid(lambda: model.model_validate(dict(self.query)))

    def job(self, job_id: str, *, callback_url: str | None = None) -> Answer:
        """Answer with a job's result when it is done soon, else with the place to ask for it.

        A caller with a callback is told there, and gets no result here.

        Raises:
            ApiError: what the job failed with.
        """
        jobs = self.state.jobs
        if callback_url:
            jobs.call_back(job_id, callback_url, self.base_url)
            return self._processing(job_id, "async")
        job = jobs.wait(job_id, GRACE_S)
        if job.error:
            raise job.error
        if job.status == "processing":
            return self._processing(job_id, "sync")
        return Answer(job.result)

    @staticmethod
    def _processing(job_id: str, request_type: str) -> Answer:
        return Answer(
            {"id": job_id, "output_url": f"/async-response/{job_id}"},
            envelope={"status": "processing", "request_type": request_type},
        )

    def _json(self, empty: object) -> object:
        if not self.content.strip():
            return empty
        try:
            value = json.loads(self.content, parse_constant=_no_constant)
            # Lone surrogates are JSON and cannot be stored; found here, they are the caller's mistake.
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise BadRequest("The body is not valid JSON") from None
        return value


def _http_address(url: str) -> str:
    return read(url, WEB).geturl()


_HttpAddress = Annotated[str, Field(max_length=10_000), AfterValidator(_http_address)]
# The vendor's own programs send an empty text where nobody is to be called.
CallbackUrl = Annotated[_HttpAddress | None, BeforeValidator(lambda url: None if url == "" else url)]


F = TypeVar("F", bound=Fields)
P = TypeVar("P", bound=Parameters)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _valid(validate: Callable[[], T]) -> T:
    try:
        return validate()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadRequest(f"{place}: {first['msg']}") from None
