"""Reschedule the runs of deployments whose process died: one policy, one counter, one limit.

Three find such runs, and call `recover`:

- the hook `on_crashed`, where somebody saw the process die (`recover_crashed`);
- a `videodb-in-process` worker, for its own work pool;
- `recover-dead-runs` and `stop-orphaned-streams`, for the flows of this package, on every work pool (`recover_all`).

That a worker died is known from its heartbeats at Prefect: after three that are missing Prefect calls it OFFLINE. A run
names its worker in its labels; a worker whose runs share its process writes down its incarnation as well.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any, Self
from uuid import UUID, uuid5

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkerFilter,
    WorkerFilterStatus,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Crashed, Scheduled, to_state_create

from prefect_videodb._logging import get_logger
from prefect_videodb.durable.prefect_api import PAGE, runs_of, server_time

CRASHES = "videodb.crashes"
"""The label that counts."""
MAX_CRASHES = 5
AWAITING_RETRY, NOT_YET_DUE = "AwaitingRetry", "Scheduled"
# From here on the run, or one beside it, may be what kills its workers.
_SUSPECT_AFTER = 2
# A crash that comes later than this after the one before begins a new count: a watch may run for months.
_COUNT_TTL = timedelta(hours=1)
# Prefect's process worker tells each crash twice: when its runner, whose hooks reschedule the run, and once more.
_TOLD_AGAIN_WITHIN = timedelta(seconds=10)
# What killed the process may still be there, a machine without memory for one.
_PAUSE = timedelta(seconds=5)

# How what a worker writes down begins where the runs share its process.
_INCARNATION = "in-process:"
_WORKER_NAME, _WORKER_TYPE = "prefect.worker.name", "prefect.worker.type"
# The runs of these workers end with them; those of others have a container, or a machine, of their own.
_ENDS_WITH_WORKER = frozenset({"process", "videodb-in-process"})
# A worker writes its name to a run within a second of its claim: until then the name may be that of the one before.
# Where it does not in the longer time, it died in between.
_MARK_TIMEOUT, _CLAIM_TIMEOUT = timedelta(seconds=10), timedelta(seconds=90)
# What a worker submitted, and does not begin in this time, is lost: a pod that cannot be scheduled.
_START_TIMEOUT = timedelta(minutes=15)
_HEARTBEAT = "prefect.flow-run.heartbeat"
# Prefect's engine sends one every three minutes, unless told to send more; three in a row do not go missing.
HEARTBEAT_TIMEOUT = timedelta(minutes=10)
# The hook comes first; what crashed long ago, somebody has seen, and let lie.
_ABANDONED_AFTER, _ABANDONED_UNTIL = timedelta(minutes=1), timedelta(days=1)

_RETRY_AFTER_S = (1.0, 3.0, 6.0)
_LOOK_AGAIN_AFTER_S = (2.0, 3.0, 5.0)
_TROUBLE = (httpx.HTTPError, PrefectException, RuntimeError)


class StaleRun(RuntimeError):
    """The run has another state since it was read: somebody else looks after it."""


class Recovery(Enum):
    """What became of a run whose process died."""

    RESCHEDULED = "it is scheduled again, by this call or by somebody else"
    GIVEN_UP = "it crashed too often, belongs to no deployment, or is over"
    UNKNOWN = "Prefect could not be asked"


@dataclass(frozen=True, slots=True)
class Death:
    """Why a run is executed by nobody, and whether the run itself may be the cause: only then it is counted."""

    why: str
    counts: bool = True

    @classmethod
    def with_worker(cls, run: FlowRun, holder: "Holder", why: str) -> Self:
        """Return the death of a run whose worker died: it may be the cause where it shared the worker's process."""
        return cls(why, counts=holder.incarnation is not None and not is_suspect(run))


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that a run belongs to, as written down with the run."""

    worker: str
    incarnation: str | None = None
    """Which process of that name, where the runs share the worker's process."""

    def __str__(self) -> str:
        return f"{_INCARNATION}{self.incarnation}:{self.worker}"

    @classmethod
    def of(cls, run: FlowRun) -> Self | None:
        """Return the holder of a run; None before a worker that claimed it has written itself down."""
        if (told := run.infrastructure_pid or "").startswith(_INCARNATION):
            incarnation, _, worker = told.removeprefix(_INCARNATION).partition(":")
            return cls(worker, incarnation)
        # The labels of a run that was claimed just now are those of whoever executed it before.
        is_claimed = run.state is not None and run.state.is_pending() and run.state.name == "Pending"
        worker = "" if is_claimed else str(run.labels.get(_WORKER_NAME, ""))
        return cls(worker) if worker else None


# --- who is dead ------------------------------------------------------------------------------------------------------


def death_of(
    run: FlowRun, online: Collection[str] | None, now: datetime, heartbeat: datetime | None = None
) -> Death | None:
    """Return why nobody executes a run that is said to be executed; None where somebody does, or nobody can know. Pure.

    Args:
        run: it is pending, running or cancelling.
        online: the names of the workers that are online; None where that is not known.
        now: by the server's clock.
        heartbeat: the last one of the run's own engine, since it began to run; None where there was none.
    """
    state, holder = run.state, Holder.of(run)
    if state is None:
        return None
    if holder and online is not None and holder.worker not in online and ended_with_worker(run, holder, now):
        return Death.with_worker(run, holder, f"its worker {holder.worker!r} is offline")
    if state.is_pending():
        if holder and holder.incarnation:  # it knows what it holds
            return None
        due = max(state.timestamp, state.state_details.scheduled_time or state.timestamp)
        is_lost = now - due > _START_TIMEOUT if holder else now - state.timestamp > _CLAIM_TIMEOUT
        return Death("a worker claimed it and did not begin") if is_lost else None
    if heartbeat and now - heartbeat > HEARTBEAT_TIMEOUT:
        return Death(f"no heartbeat since {heartbeat:%H:%M:%S} UTC")
    return None


def ended_with_worker(run: FlowRun, holder: Holder, now: datetime) -> bool:
    """Whether nobody executes a run whose worker is dead. Pure."""
    if run.state is not None and run.state.is_pending():
        return run.state.name != "InfrastructurePending" and now - run.state.timestamp > _MARK_TIMEOUT
    return holder.incarnation is not None or run.labels.get(_WORKER_TYPE) in _ENDS_WITH_WORKER


def online_filter() -> WorkerFilter:
    """Return the filter of workers that Prefect calls online."""
    return WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))


# --- the policy -------------------------------------------------------------------------------------------------------


def recover(client: SyncPrefectClient, run: FlowRun, death: Death) -> Recovery:
    """Reschedule a run whose process died, unless it crashed too often: it finds what it did, and goes on from there.

    Args:
        client: of Prefect.
        run: as it was when it was found dead.
        death: why it is dead.

    Raises:
        StaleRun: its state has changed since, or Prefect refused.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    run = read_unchanged(client, run)
    if run.deployment_id is None:
        return Recovery.GIVEN_UP
    count, now = crash_count(run), datetime.now(UTC)
    if death.counts and not _is_counted(run):
        count += 1
        if count > MAX_CRASHES:
            return Recovery.GIVEN_UP
        # Counted first: killed after this line, it is tried less often, never more.
        counted = _Count(count, _died_at(run), str(run.state_id), str(run.run_count))
        client.update_flow_run_labels(run.id, {CRASHES: str(counted)})
    is_first = run.expected_start_time is not None and run.expected_start_time > now  # it was claimed ahead
    at = now + _PAUSE if run.state and run.state.is_crashed() else now
    message = f"Goes on: {death.why}" + (f" (crash {count} of {MAX_CRASHES})" if death.counts else "")
    name = NOT_YET_DUE if is_first else AWAITING_RETRY
    schedule_unchanged(client, run, max(at, run.expected_start_time or at), message, name)
    return Recovery.RESCHEDULED


def crash_count(run: FlowRun) -> int:
    """Return how often a run crashed until now, each time within an hour of the time before."""
    counted = _Count.of(run)
    return 0 if counted.at and _died_at(run) - counted.at > _COUNT_TTL else counted.number


def is_suspect(run: FlowRun) -> bool:
    """Whether a run may be what killed its workers, and is to be executed in a process of its own."""
    return crash_count(run) >= _SUSPECT_AFTER


def may_recover(run: FlowRun) -> bool:
    """Whether a run goes on if its process dies, or after the crash it is in: only those of deployments do."""
    return run.deployment_id is not None and crash_count(run) < MAX_CRASHES + _is_counted(run)


def will_recover(read_run: Callable[[], FlowRun]) -> bool:
    """Whether a run whose process is told to end will be executed again: nobody cancelled it, and it may go on.

    False when Prefect cannot be asked: nobody could reschedule it.
    """
    try:
        run = read_run()
    except (httpx.HTTPError, PrefectException) as error:
        get_logger().warning("Prefect could not be asked whether the run is cancelled: %s", error)
        return False
    return run.state is not None and run.state.is_running() and may_recover(run)


def read_unchanged(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """Return a run as it is now, with the state that it was read in before.

    Raises:
        StaleRun: its state is another one, or it was deleted.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    try:
        now = client.read_flow_run(run.id)
    except ObjectNotFound:
        raise StaleRun(f"run {run.name} was deleted") from None
    if now.state_id != run.state_id:
        raise StaleRun(f"run {run.name} is {now.state.name if now.state else 'in no state'} by now")
    return now


def schedule_unchanged(client: SyncPrefectClient, run: FlowRun, at: datetime, message: str, name: str) -> None:
    """Schedule a run whose state is still the one that it was read in. Of several that do so, Prefect takes one.

    Raises:
        StaleRun: its state is another one, or Prefect refused.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    read_unchanged(client, run)
    scheduled: State[Any] = Scheduled(scheduled_time=at, name=name, message=message)
    state = to_state_create(scheduled)
    state.state_details.flow_run_id = run.id
    # Prefect rejects a transition that the run made just now: whoever else found the run in the same state.
    state.state_details.transition_id = uuid5(run.state_id or run.id, "rescheduled")
    body = {"state": state.model_dump(mode="json", serialize_as_any=True), "force": False}
    response = client.request("POST", "/flow_runs/{id}/set_state", path_params={"id": run.id}, json=body)
    answer: OrchestrationResult[Any] = OrchestrationResult.model_validate(response.json())
    if answer.status is not SetStateStatus.ACCEPT:
        raise StaleRun(f"run {run.name}: {getattr(answer.details, 'reason', None) or answer.status.value}")


@dataclass(frozen=True, slots=True)
class _Count:
    """How often a run crashed, when last, in which state it was found then, and how often it had begun to run."""

    number: int = 0
    at: datetime | None = None
    state_id: str = ""
    run_count: str = ""

    @classmethod
    def of(cls, run: FlowRun) -> Self:
        number, at, state_id, run_count, *_ = f"{run.labels.get(CRASHES, '')}   ".split(" ")
        return cls(int(number or 0), datetime.fromisoformat(at) if at else None, state_id, run_count)

    def __str__(self) -> str:
        return f"{self.number} {self.at.isoformat() if self.at else ''} {self.state_id} {self.run_count}"


def _died_at(run: FlowRun) -> datetime:
    return run.state.timestamp if run.state and run.state.is_crashed() else datetime.now(UTC)


def _is_counted(run: FlowRun) -> bool:
    """Whether this crash was counted: by somebody who died before it was rescheduled, or when it was told before."""
    counted = _Count.of(run)
    if counted.state_id == str(run.state_id):
        return True
    is_same_execution = counted.run_count == str(run.run_count) and run.state is not None and run.state.is_crashed()
    return is_same_execution and counted.at is not None and _died_at(run) - counted.at < _TOLD_AGAIN_WITHIN


# --- the hook ---------------------------------------------------------------------------------------------------------


def recover_crashed(flow_run_id: UUID) -> Recovery:
    """Reschedule a crashed run, for its hook `on_crashed`.

    Where Prefect cannot be asked, not even after a while, the run is left to `stop-orphaned-streams`: what it records
    is worth more than the minutes until then cost.
    """
    for pause_s in (*_RETRY_AFTER_S, None):
        try:
            outcome = _recover_once(flow_run_id)
        except ObjectNotFound:
            return Recovery.GIVEN_UP
        except _TROUBLE as error:
            get_logger().warning("Run %s could not be rescheduled: %s", flow_run_id, error)
        else:
            if outcome is Recovery.RESCHEDULED:
                look = partial(copy_context().run, _look_again, flow_run_id)
                threading.Thread(target=look, name=f"crash of {flow_run_id}", daemon=True).start()
            return outcome
        if pause_s is not None:
            time.sleep(pause_s)
    get_logger().error("Run %s is left to stop-orphaned-streams", flow_run_id)
    return Recovery.UNKNOWN


def _recover_once(flow_run_id: UUID) -> Recovery:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run_id)
        if run.state is not None and run.state.is_crashed():
            return recover(client, run, Death("its process died"))
        # Nobody but who has rescheduled it makes it anything that has not ended.
        is_over = run.state is None or run.state.is_final() or run.state.is_cancelling()
        return Recovery.GIVEN_UP if is_over else Recovery.RESCHEDULED


def _look_again(flow_run_id: UUID) -> None:
    """Reschedule a run once more whose crash is told once more. A process that ends before leaves it to the net."""
    for pause_s in _LOOK_AGAIN_AFTER_S:
        time.sleep(pause_s)
        try:
            _recover_once(flow_run_id)
        except _TROUBLE as error:
            get_logger().warning("Whether run %s goes on is not known: %s", flow_run_id, error)


# --- the net ----------------------------------------------------------------------------------------------------------


def recover_all(client: SyncPrefectClient, flows: Iterable[str]) -> None:
    """Reschedule the runs of these flows that nobody executes, or that crashed and that nobody else rescheduled.

    Those of `videodb-in-process` workers are looked after by these: they know for how long they could ask Prefect, and
    do not call a worker dead that has had no chance yet to send a heartbeat.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    now = server_time(client.hello())
    online: dict[str, frozenset[str]] = {}
    for flow in flows:
        for run in _held_runs(client, flow):
            names, holder, pool = None, Holder.of(run), run.work_pool_name
            if pool and holder and holder.incarnation is None:
                names = online[pool] = online[pool] if pool in online else _online_workers(client, pool)
            if death := death_of(run, names, now, last_heartbeat(client, run, now)):
                get_logger().warning("Run %s is executed by nobody: %s", run.name, death.why)
                _recover_or_give_up(client, run, death)
        for run in _crashed_runs(client, flow, now):
            if is_abandoned(run, now):
                get_logger().warning("Run %s crashed, and nobody else reschedules it", run.name)
                _recover_or_give_up(client, run, Death("its process died"))


def is_abandoned(run: FlowRun, now: datetime) -> bool:
    """Whether a crashed run is to be rescheduled by whoever finds it. Pure."""
    if run.state is None or not run.state.is_crashed() or not may_recover(run):
        return False
    return _ABANDONED_AFTER <= now - run.state.timestamp < _ABANDONED_UNTIL


def _recover_or_give_up(client: SyncPrefectClient, run: FlowRun, death: Death) -> None:
    """Trouble with one run keeps no other from its turn: the next look is soon."""
    try:
        is_given_up = recover(client, run, death) is Recovery.GIVEN_UP
        if is_given_up and run.state and not run.state.is_crashed():
            read_unchanged(client, run)
            client.set_flow_run_state(run.id, Crashed(message=f"Crashed too often: {death.why}"))
    except StaleRun as stale:
        get_logger().info("Run %s needs nobody: %s", run.name, stale)
    except _TROUBLE as error:
        get_logger().error("Run %s could not be looked after: %s", run.name, error)


def _held_runs(client: SyncPrefectClient, flow: str) -> list[FlowRun]:
    states = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    return runs_of(client, flow, _deployed(state=FlowRunFilterState(type=states)))


def _crashed_runs(client: SyncPrefectClient, flow: str, now: datetime) -> list[FlowRun]:
    crashed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED]))
    since = FlowRunFilterEndTime.model_validate({"after_": now - _ABANDONED_UNTIL})
    return runs_of(client, flow, _deployed(state=crashed, end_time=since))


def _deployed(**wanted: Any) -> FlowRunFilter:
    return FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(is_null_=False), **wanted)


def _online_workers(client: SyncPrefectClient, pool: str) -> frozenset[str]:
    """Return the names of the workers of a pool that are online; a pool that was deleted has none."""
    names: list[str] = []
    while True:
        try:
            page = client.read_workers_for_work_pool(pool, online_filter(), offset=len(names), limit=PAGE)
        except httpx.HTTPStatusError as refusal:
            if refusal.response.status_code != httpx.codes.NOT_FOUND:
                raise
            page = []
        names += [worker.name for worker in page]
        if len(page) < PAGE:
            return frozenset(names)


def last_heartbeat(client: SyncPrefectClient, run: FlowRun, now: datetime) -> datetime | None:
    """Return the last heartbeat of a run that has been running for longer than heartbeats may be missing."""
    if run.state is None or not run.state.is_running() or now - run.state.timestamp <= HEARTBEAT_TIMEOUT:
        return None
    heartbeats = {
        "occurred": {"since": run.state.timestamp.isoformat()},
        "event": {"name": [_HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
    }
    answer = client.request("POST", "/events/filter", json={"filter": heartbeats, "limit": 1})
    events = answer.json()["events"]
    return datetime.fromisoformat(events[0]["occurred"]) if events else None
