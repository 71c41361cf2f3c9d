"""A recording that begins late, or is stopped late: what is recorded, and how that is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import NAMESPACE_URL, uuid5

import httpx
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.states import Completed

from prefect_videodb._logging import get_logger
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.inputs import Plan
from prefect_videodb.recording.memory import Memory
from prefect_videodb.recording.models import MeetingRecording, WhenLate, Window
from prefect_videodb.recording.text import clock, timecode

SKIPPED: Final = "Skipped"
RECORDING_OVERRAN: Final = "videodb.recording.overran"
# What a run remembers of it: from when on its length counts; empty where that is when its source is ingested.
COUNTS_FROM: Final = "counts_from"
# A busy process worker begins a run that late (docs/workers.md).
ON_TIME: Final = timedelta(minutes=5)
# Creating a run and scheduling it for now takes as long, with the clocks of two machines.
_BY_HAND_S: Final = 5.0
# Whoever moves a run moves it further than that.
_LEAST_MOVE: Final = timedelta(seconds=30)
# A stop takes so long, and a stream begins to record before the service calls it connected.
_USUAL_EXCESS_S: Final = 10.0
# Prefect's name of a state that somebody, or a schedule, asked for: one that only waits has another.
_ASKED_FOR: Final = "Scheduled"


@dataclass(frozen=True, slots=True)
class Due:
    """When a run was to begin. `by_hand`: it was to begin when somebody started it, not at an appointed time."""

    at: datetime
    by_hand: bool = False


class Skipped(Exception):
    """Nothing is recorded or watched, because the run begins too late; the message says why."""


def decide(due: Due, now: datetime, plan: Plan, when_late: WhenLate) -> Window:
    """Return what a recording that begins now is to record. Pure.

    The window counts from when the run was due; from now for the full length, and for a run that somebody started by
    hand less than five minutes ago.

    Raises:
        Skipped: it is too late to record anything, or all of it.
        ConfigurationError: it could never have been recorded.
    """
    planned = plan.window(due.at)
    late = now - due.at
    if when_late == "skip" and late > ON_TIME:
        raise Skipped(f"{_begun(due, late)}, and its options say to skip it then")
    if counts_from_now(due, now, when_late) and (plan.end_time is None or planned.end > now):
        return plan.window(now)
    if planned.end <= now:
        raise Skipped(f"{_begun(due, late)}, and was to end at {clock(planned.end)}")
    return planned


def counts_from_now(due: Due, now: datetime, when_late: WhenLate) -> bool:
    """Whether the length of a recording that begins now counts from when its source is ingested. Pure."""
    return when_late == "full" or (due.by_hand and now - due.at <= ON_TIME)


def _begun(due: Due, late: timedelta) -> str:
    return f"it was due at {clock(due.at)}, began {timecode(late.total_seconds())} late"


def due_of(run: FlowRun, states: Sequence[State[Any]] = ()) -> Due:
    """Return when a run was to begin. Pure.

    Args:
        run: the run; its expected start is never moved.
        states: all that it was in, where they are known. Somebody may have moved the run since it was made: the last
            state that was asked for counts. A state that only waits (for a slot, for a retry) does not.
    """
    at: datetime | None = run.expected_start_time
    asked_at: datetime | None = run.created
    asked_for = [state for state in states if state.is_scheduled() and state.name == _ASKED_FOR]
    if asked_for:
        last = max(asked_for, key=lambda state: state.timestamp)
        asked_at = last.timestamp
        at = last.state_details.scheduled_time or at
    if at is None:
        return Due(datetime.now(UTC), by_hand=True)
    is_now = asked_at is not None and abs(at.timestamp() - asked_at.timestamp()) < _BY_HAND_S
    return Due(at, by_hand=is_now and not run.auto_scheduled)


def begins_as_expected(run: FlowRun, at: datetime) -> bool:
    """Whether a run that begins then begins when it was expected to: neither late, nor moved. Pure."""
    return run.expected_start_time is None or abs(at - run.expected_start_time) < _LEAST_MOVE


def due_of_this_run(memory: Memory, now: datetime) -> Due:
    """Return when the run of this context was to begin.

    Prefect is asked for its earlier states only where it does not begin when it was expected to. A run that no worker
    executes was called: it is due now.
    """
    if not memory.is_of_deployment:
        return Due(now, by_hand=True)
    states: Sequence[State[Any]] = ()
    if not begins_as_expected(memory.run, now):
        try:
            states = memory.read_states()
        except (httpx.HTTPError, PrefectException, ValueError) as error:
            get_logger().warning("Prefect could not be asked whether the run was moved: %s", error)
    return due_of(memory.run, states)


def when_it_counts_from(memory: Memory, now: datetime, plan: Plan, when_late: WhenLate) -> datetime | None:
    """Return from when on the length of the recording of this context counts; None: from when its source is ingested.

    Args:
        memory: of the run.
        now: when it begins.
        plan: what it is to record.
        when_late: what it is to do when it begins late.

    Raises:
        Skipped: it is too late to record anything, or all of it.
        ConfigurationError: it could never have been recorded.
    """
    due = due_of_this_run(memory, now)
    decide(due, now, plan, when_late)
    return None if counts_from_now(due, now, when_late) else due.at


def as_text(moment: datetime | None) -> str:
    """Write a moment down, or that there is none."""
    return moment.astimezone(UTC).isoformat() if moment else ""


def refuse_past_end(memory: Memory, now: datetime, end_time: datetime) -> None:
    """Refuse to begin what is over.

    Raises:
        Skipped: the run of this context was due before.
        ConfigurationError: it could never have begun before.
    """
    if end_time > now:
        return
    due = due_of_this_run(memory, now)
    if end_time > due.at:
        raise Skipped(f"{_begun(due, now - due.at)}, and was to end at {clock(end_time)}")
    raise ConfigurationError(f"the end time {clock(end_time)} is already past: there is nothing left to do")


def skip(memory: Memory, kind: Literal["recording", "watch"], title: str, reason: Skipped) -> State[Any]:
    """Tell that nothing is recorded or watched, and return the state in which the run ends."""
    told = f"There was no {kind}: {reason}. To begin one now, start a new run"
    get_logger().warning("%s", told)
    event = f"videodb.{kind}.skipped"
    emit_event(
        event=event,
        resource={"prefect.resource.id": f"prefect.flow-run.{memory.run.id}", "prefect.resource.name": title},
        payload={"reason": str(reason)},
        id=uuid5(NAMESPACE_URL, f"{event}/{memory.run.id}"),  # one, however often it is retried
    )
    return Completed(name=SKIPPED, message=told)


def overrun_s(began: datetime, length_s: float | None, end: datetime) -> float:
    """Return how long a video goes on after its planned end, in seconds; 0 for what is usual. Pure.

    Args:
        began: when the video begins.
        length_s: how long it is, where that is known.
        end: the planned end.
    """
    over_s = 0.0 if length_s is None else length_s - (end - began).total_seconds()
    return round(over_s, 1) if over_s > _USUAL_EXCESS_S else 0.0


def tell_overrun(memory: Memory, recording: MeetingRecording) -> None:
    """Log, and emit as an event, that a recording was stopped late, where it was."""
    if not recording.overrun_s:
        return
    end = recording.window.end
    get_logger().warning(
        "Stopped %s late, planned was %s: until then nobody executed the run. What is searched is the planned window",
        *(timecode(recording.overrun_s), clock(end)),
    )
    emit_event(
        event=RECORDING_OVERRAN,
        resource={
            "prefect.resource.id": f"videodb.rtstream.{recording.rtstream_id}",
            "prefect.resource.name": recording.name,
        },
        related=[{"prefect.resource.id": f"prefect.flow-run.{memory.run.id}", "prefect.resource.role": "recording"}],
        payload={"planned_end": end.isoformat(), "overrun_s": recording.overrun_s, "video_id": recording.video_id},
        id=uuid5(NAMESPACE_URL, f"{RECORDING_OVERRAN}/{memory.run.id}"),
    )
