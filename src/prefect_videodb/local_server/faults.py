"""Faults that somebody asks for, to see what their own program makes of them. They end with the server's process."""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, Literal, TypeVar

Outcome = Literal["never", "fails"]


@dataclass(frozen=True, slots=True)
class RequestFault:
    """What happens to requests of a method (None: of any) whose path matches a shell pattern; `/` is no boundary."""

    method: str | None
    path: str
    delay_s: float
    """The operation is executed at once, and answered so much later."""
    status: int | None
    """Answered in place of the operation, which is not executed."""
    retry_after_s: int | None
    message: str
    cut: bool
    """The operation is executed, and the connection closed in the middle of the answer."""


@dataclass(frozen=True, slots=True)
class JobFault:
    """What becomes of jobs of a kind: one never ends, or fails `after_s` seconds after it was asked for."""

    job: str
    outcome: Outcome
    after_s: float
    message: str


F = TypeVar("F", bound=RequestFault | JobFault)


@dataclass(slots=True)
class _Rule(Generic[F]):
    fault: F
    left: int | None
    """How often it is still applied; None for always."""


class Faults:
    """The faults of one server, in the order in which they were asked for: the first that matches is applied."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_requests: list[_Rule[RequestFault]] = []
        self._of_jobs: list[_Rule[JobFault]] = []

    def add(self, fault: RequestFault | JobFault, times: int | None) -> None:
        """Apply a fault so many times, or always."""
        with self._lock:
            if isinstance(fault, RequestFault):
                self._of_requests.append(_Rule(fault, times))
            else:
                self._of_jobs.append(_Rule(fault, times))

    def clear(self) -> None:
        """Apply no more faults."""
        with self._lock:
            self._of_requests.clear()
            self._of_jobs.clear()

    def described(self) -> list[dict[str, Any]]:
        """Return what is still to be applied."""
        with self._lock:
            return [*map(_described, self._of_requests), *map(_described, self._of_jobs)]

    def of_request(self, method: str, path: str) -> RequestFault | None:
        """Take the fault of a request."""
        return self._take(
            self._of_requests, lambda fault: fault.method in {None, method} and fnmatchcase(path, fault.path)
        )

    def of_job(self, kind: str) -> JobFault | None:
        """Take the fault of a new job."""
        return self._take(self._of_jobs, lambda fault: fault.job == kind)

    def _take(self, rules: list[_Rule[F]], matches: Callable[[F], bool]) -> F | None:
        with self._lock:
            for rule in rules:
                if matches(rule.fault):
                    if rule.left is not None:
                        rule.left -= 1
                        if not rule.left:
                            rules.remove(rule)
                    return rule.fault
        return None


def _described(rule: _Rule[Any]) -> dict[str, Any]:
    return {**asdict(rule.fault), "times": rule.left}
