"""Let a run wait without a process: it goes back into Prefect's schedule, and is executed again when the wait is over.

The wait lives in the server's database, so no kill of anything else can lose it. What the second execution needs is in
the run's memory.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Pause, PrefectException
from prefect.states import Scheduled

from prefect_videodb._clock import steady_now
from prefect_videodb._logging import get_logger
from prefect_videodb.recording.memory import Memory
from prefect_videodb.recording.models import Window

# What the UI shows while a run is parked.
PARKED = "Recording"
# What Prefect calls a run that nobody begins though it is due.
LATE = "Late"
# A shorter wait costs less than starting another process does.
_LEAST = timedelta(seconds=30)
# So long before its end the next execution begins, and waits for the moment itself: the stop must not be late because
# Prefect is slow or away, a process takes long to start, or many recordings end on the hour.
_EARLY = timedelta(seconds=15)
_TICK_S = 1.0
_TRY_EVERY_S = 15.0


def is_parked(run: FlowRun) -> bool:
    """Say whether a run waits without a process."""
    return run.state is not None and run.state.is_scheduled() and run.state.name == PARKED


def park(memory: Memory, flow_run_id: str, window: Window, message: str) -> None:
    """Leave this execution; the next one begins shortly before the end of the window. `message` is its state's.

    Comes back only when that cannot be: Prefect is away, or was not told what the next execution must know. Then the
    caller waits in its process, and tries again now and then.

    Raises:
        Pause: how Prefect's engine lets a run go without ending it.
    """
    if not memory.save():
        get_logger().warning("The run cannot be parked: waiting in this process")
        return
    try:
        leave(memory.prefect, flow_run_id, wake_at(window.end), message)
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        get_logger().warning("The run cannot be parked, waiting in this process: %s", error)


def wake_at(end: datetime) -> datetime:
    """Give the moment at which a recording that ends then goes on."""
    return end - _EARLY


def is_worth_parking(end: datetime) -> bool:
    """Say whether a recording that ends then is to wait without a process: it does not end in a moment."""
    return end - datetime.now(UTC) >= _LEAST


def wait_until(
    until: datetime, memory: Memory, flow_run_id: str, message: str, name: str, *, hold_process: bool
) -> None:
    """Wait without a process, where a worker begins another and it is worth it; else, or when Prefect is away, here.

    Raises:
        Pause: how Prefect's engine lets a run go without ending it.
        RuntimeError: Prefect did not accept it: the run ended meanwhile.
    """
    parks = memory.is_of_deployment and not hold_process
    deadline = steady_now() + (until - datetime.now(UTC)).total_seconds()
    next_try = steady_now()
    while (left_s := deadline - steady_now()) > 0:
        if parks and left_s >= _LEAST.total_seconds() and steady_now() >= next_try:
            try:
                leave(memory.prefect, flow_run_id, until, message, name)
            except (httpx.HTTPError, PrefectException) as error:
                get_logger().warning("Prefect is away, the process waits here and tries again: %s", error)
            next_try = steady_now() + _TRY_EVERY_S
        time.sleep(min(_TICK_S, left_s))


def leave(client: SyncPrefectClient, flow_run_id: str, at: datetime, message: str, name: str = PARKED) -> NoReturn:
    """Leave this execution; the next one begins then. `name` is what the UI calls the state meanwhile.

    Raises:
        Pause: how Prefect's engine lets a run go without ending it.
        RuntimeError: Prefect did not accept it: the run ended meanwhile.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    run = client.read_flow_run(UUID(flow_run_id))
    # No process belongs to the run any more: so Cancel need not wait for one to end. Before it is scheduled: after
    # that it may be another one's already.
    _belongs_to(client, run.id, "")
    try:
        state = schedule(client, run.id, at, message, name)
    except (RuntimeError, httpx.HTTPError, PrefectException):
        with suppress(httpx.HTTPError, PrefectException):  # the worker of this process knows its runs all the same
            _belongs_to(client, run.id, run.infrastructure_pid or "")
        raise
    get_logger().info("No process is held until then")
    raise Pause(state=state)


def _belongs_to(client: SyncPrefectClient, flow_run_id: UUID, process: str) -> None:
    told = {"infrastructure_pid": process}
    client.request("PATCH", "/flow_runs/{id}", path_params={"id": flow_run_id}, json=told)


def schedule(
    client: SyncPrefectClient, flow_run_id: UUID, at: datetime, message: str, name: str = PARKED
) -> State[Any]:
    """Park a run, or give a parked one another time.

    Raises:
        RuntimeError: Prefect did not accept it: the run ended meanwhile.
    """
    state: State[Any] = Scheduled(scheduled_time=max(at, datetime.now(UTC)), name=name, message=message)
    answer = client.set_flow_run_state(flow_run_id, state)
    if answer.state is None or answer.state.name != name:
        told = getattr(answer.details, "reason", None) or answer.status
        raise RuntimeError(f"the run cannot be scheduled: {told}")
    return answer.state
