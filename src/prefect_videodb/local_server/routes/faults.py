"""Faults for tests of somebody's own program. VideoDB has no such operations."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from prefect_videodb.local_server.calls import Answer, Call, Fields
from prefect_videodb.local_server.errors import BadRequest
from prefect_videodb.local_server.faults import JobFault, RequestFault

PATH = "/faults"
LONGEST_S = 24 * 3600


class _Fault(Fields):
    # Unlike a field of VideoDB, a name that is not known here is a typing error.
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    times: int | None = Field(1, ge=1, le=1_000_000)
    message: str = Field("A fault that was asked for", min_length=1, max_length=1000)


class OfRequests(_Fault):
    """`POST /faults` with a `path`."""

    path: str = Field(pattern=r"^[/*]", max_length=1000)
    method: Literal["GET", "POST", "PATCH", "DELETE"] | None = None
    delay_s: float = Field(0.0, ge=0, le=LONGEST_S)
    status: int | None = Field(None, ge=400, le=599)
    retry_after_s: int | None = Field(None, ge=0, le=LONGEST_S)
    cut: bool = False

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.delay_s and self.status is None and not self.cut:
            raise ValueError("a fault needs delay_s, status or cut")
        return self


class OfJobs(_Fault):
    """`POST /faults` with a `job`."""

    job: str = Field(max_length=100)
    outcome: Literal["never", "fails"]
    after_s: float = Field(0.0, ge=0, le=LONGEST_S)


class _Kind(Fields):
    job: object = None


def add(call: Call) -> Answer:
    """`POST /faults`: apply a fault to the next requests or jobs that match."""
    faults, jobs = call.state.faults, call.state.jobs
    if call.fields(_Kind).job is None:
        of = call.fields(OfRequests)
        faults.add(
            RequestFault(of.method, of.path, of.delay_s, of.status, of.retry_after_s, of.message, of.cut), of.times
        )
    else:
        job = call.fields(OfJobs)
        if job.job not in jobs.kinds:
            raise BadRequest(f"job must be one of {', '.join(sorted(jobs.kinds))}")
        faults.add(JobFault(job.job, job.outcome, job.after_s, job.message), job.times)
    return list_all(call)


def list_all(call: Call) -> Answer:
    """`GET /faults`: those that are still to be applied."""
    return Answer({"faults": call.state.faults.described()})


def clear(call: Call) -> Answer:
    """`DELETE /faults`: apply no more; jobs that were held go on."""
    call.state.faults.clear()
    call.state.jobs.release()
    return list_all(call)


OPERATIONS = {("POST", PATH): add, ("GET", PATH): list_all, ("DELETE", PATH): clear}
