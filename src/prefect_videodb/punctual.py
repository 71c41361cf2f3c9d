"""Flows that wait for their moment themselves: a worker may begin them before it.

What Prefect and the machine need to start a run is over then when its moment comes, also of two hundred runs that are
due in the same second. Only the worker of this package begins early; elsewhere such a flow starts as any other.
"""

import time
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from prefect import Flow

from prefect_videodb._clock import steady_now
from prefect_videodb.precedence import hurry, rest

# So long before its time a run begins that waits for nothing but its time, and that has not begun before.
LEAD = timedelta(seconds=30)
# And that much for each that is due before it, or with it: on two cores a start takes both half of it.
_EACH = timedelta(seconds=0.75)
LONGEST_LEAD = timedelta(minutes=3)
_TICK_S = 0.5
_MARK = "_videodb_is_punctual"
_F = TypeVar("_F", bound=Flow[..., Any])

due_at: ContextVar[datetime | None] = ContextVar("due_at", default=None)
"""When the run of this context is due; None where nobody has said so."""


def punctual(flow: _F) -> _F:
    """Mark a flow that calls `wait_for_due` before it does what must not be early.

    Raises:
        TypeError: the flow is a coroutine, whose event loop would stand still, or has a time-out, which would count
            the wait.
    """
    if flow.isasync or flow.timeout_seconds is not None:
        raise TypeError(f"the flow {flow.name!r} cannot wait for its time: it is a coroutine, or has a time-out")
    setattr(flow, _MARK, True)
    return flow


def is_punctual(flow: Flow[..., Any]) -> bool:
    """Say whether a flow may be started early."""
    return bool(getattr(flow, _MARK, False))


def lead(before: int, *, is_first: bool) -> timedelta:
    """Tell how long before its time a run is to begin, so that it is ready by then.

    Args:
        before: how many others that may begin early are due before it, or with it.
        is_first: whether it has not begun before. One that has is scheduled for a moment before it is due as it is.
    """
    return min(LONGEST_LEAD, (LEAD if is_first else timedelta()) + before * _EACH)


def due_or_now() -> datetime:
    """Give the moment at which the run of this context is to do what it is for."""
    now = datetime.now(UTC)
    return max(due_at.get() or now, now)


def wait_for_due(due: datetime | None = None) -> None:
    """Wait until then, or until the run of this context is due; come back at once where it is.

    Meanwhile others of the same process go first. Then this one does, until it says that it has time.
    """
    deadline = steady_now() + ((due or due_or_now()) - datetime.now(UTC)).total_seconds()
    while (left_s := deadline - steady_now()) > 0:
        rest()
        time.sleep(min(left_s, _TICK_S))
    hurry()
