"""Find out what is recording, for whom, and whether anybody still looks after it."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateName as StateName
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound

from prefect_videodb.client.models import RTStream
from prefect_videodb.durable.prefect_api import runs_of
from prefect_videodb.durable.recovery import may_recover
from prefect_videodb.recording.inputs import LONGEST
from prefect_videodb.recording.liveness import LOST
from prefect_videodb.recording.memory import planned_window, remembered
from prefect_videodb.recording.models import Window
from prefect_videodb.recording.ownership import is_elsewhere, owner, server_in
from prefect_videodb.recording.parking import PARKED, is_parked
from prefect_videodb.recording.text import as_moment
from prefect_videodb.tasks.streams import STOPPED
from prefect_videodb.watching.life import is_overdue, is_watch

RECORD_MEETING = "record-meeting"
DEPLOYMENT_DELETED = "its deployment was deleted"
# A run that is being cancelled, or that crashed, is looked after by its worker first.
SETTLE = timedelta(minutes=1)
# Nobody waits longer for a source; a run that still has not planned its end is gone.
_LONGEST_START = timedelta(hours=1)


class Verdict(StrEnum):
    """What is to be done about a stream."""

    RECORDING = "recording"
    GO_ON = "go on"
    STOP = "stop"
    ELSEWHERE = "recording elsewhere"


@dataclass(frozen=True, slots=True)
class Finding:
    """A stream of ours, the run that made it, and what is to be done about it."""

    stream: RTStream
    run_id: UUID
    run: FlowRun | None
    verdict: Verdict
    reason: str

    @property
    def window(self) -> Window | None:
        """The planned window, where the run has written one down."""
        return planned_window(remembered(self.run)) if self.run else None

    def minutes(self, now: datetime) -> float:
        """How long it has been recording."""
        began = self.window.start if self.window else as_moment(self.stream.created_at)
        return max(0.0, (now - began).total_seconds() / 60) if began else 0.0


def findings(
    streams: Iterable[RTStream],
    prefect: SyncPrefectClient,
    grace: timedelta,
    server: str | None,
    abandoned: Collection[UUID] = (),
) -> Iterator[Finding]:
    """Look at every stream that runs and that a recording made. Each run is read when it comes to its stream.

    Args:
        streams: all of an account.
        prefect: knows the runs of one server.
        grace: how long after its planned end a recording may run.
        server: that server's identity, where it is known.
        abandoned: the runs that no worker will execute again.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked: then nobody knows whose they are.
    """
    for stream in streams:
        run_id = owner(stream.name)
        if run_id is None or stream.status == STOPPED:
            continue
        if is_elsewhere(stream.name, server):  # whatever this server knows or does not know of such a run
            yield Finding(stream, run_id, None, Verdict.ELSEWHERE, f"of the Prefect server {server_in(stream.name)}")
            continue
        try:
            run = prefect.read_flow_run(run_id)
        except ObjectNotFound:
            run = None
        made = as_moment(stream.created_at)
        verdict, reason = judge(run, made, datetime.now(UTC), grace, is_abandoned=run_id in abandoned)
        if verdict is Verdict.GO_ON and run and not _has_deployment(prefect, run):
            verdict, reason = Verdict.STOP, f"{reason}, and {DEPLOYMENT_DELETED}"
        yield Finding(stream, run_id, run, verdict, reason)


def _has_deployment(prefect: SyncPrefectClient, run: FlowRun) -> bool:
    try:
        return run.deployment_id is not None and bool(prefect.read_deployment(run.deployment_id))
    except ObjectNotFound:
        return False


def judge(
    run: FlowRun | None, made: datetime | None, now: datetime, grace: timedelta, *, is_abandoned: bool = False
) -> tuple[Verdict, str]:
    """Decide about a stream that runs.

    Args:
        run: the run that made it; None when it was deleted.
        made: when the stream was made, where the service says so.
        now: the moment.
        grace: how long after its planned end a recording may run.
        is_abandoned: whether no worker will execute the run again: then nobody is waited for.

    Returns:
        what to do, and why.
    """
    if run is None:
        return Verdict.STOP, "its run was deleted"
    if run.state is None:
        return Verdict.RECORDING, ""
    if run.state.is_crashed():
        return _crashed(run, run.state, now)
    if run.state.is_final():
        return Verdict.STOP, f"its run is {(run.state.name or run.state.type.value).lower()}"
    if is_abandoned and run.state.is_scheduled() and is_over(run, now):
        return Verdict.STOP, DEPLOYMENT_DELETED
    return _alive(run, run.state, made, now, grace)


def is_over(run: FlowRun, now: datetime) -> bool:
    """Whether what nobody executes any more is to be ended: a recording at its planned end, anything else at once."""
    window = planned_window(remembered(run))
    return is_watch(remembered(run)) or window is None or now >= window.end


def _crashed(run: FlowRun, state: State[Any], now: datetime) -> tuple[Verdict, str]:
    if not may_recover(run):
        return Verdict.STOP, "its run crashed too often"
    if now - state.timestamp < SETTLE:
        return Verdict.RECORDING, "its run crashed just now"
    return Verdict.GO_ON, "its run crashed"


def _alive(
    run: FlowRun, state: State[Any], made: datetime | None, now: datetime, grace: timedelta
) -> tuple[Verdict, str]:
    if state.is_cancelling() and now - state.timestamp >= SETTLE:
        return Verdict.STOP, "its run is being cancelled, and nobody stopped it"
    window = planned_window(remembered(run))
    if window and now > window.end + grace:
        return Verdict.STOP, "its planned end is past"
    if is_watch(remembered(run)):
        return _watched(run, state, now, grace)
    if made and now > made + LONGEST + grace:
        return Verdict.STOP, f"it has been recording for more than {LONGEST}"
    if made and window is None and now > made + _LONGEST_START + grace:
        return Verdict.STOP, "its recording never began"
    return Verdict.RECORDING, "its source delivers nothing" if remembered(run).get(LOST) else ""


def _watched(run: FlowRun, state: State[Any], now: datetime, grace: timedelta) -> tuple[Verdict, str]:
    """Judge a watch, which may run for ever: but when it holds a process it looks now and then, and says when."""
    begun_long_ago = now - state.timestamp > grace
    if state.is_running() and begun_long_ago and is_overdue(remembered(run), now, grace):
        verdict = Verdict.GO_ON if may_recover(run) else Verdict.STOP
        return verdict, "its run is said to be running, but looks no more"
    return Verdict.RECORDING, "it is watched"


def parked_runs(prefect: SyncPrefectClient) -> list[FlowRun]:
    """Give all recordings that wait without a process."""
    wanted = FlowRunFilter(state=FlowRunFilterState(name=StateName(any_=[PARKED])))
    return [run for run in runs_of(prefect, RECORD_MEETING, wanted) if is_parked(run)]
