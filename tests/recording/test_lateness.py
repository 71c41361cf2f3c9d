"""What a recording that begins late records, and how long one that was stopped late went on."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import AwaitingRetry, Pending, Scheduled

from prefect_videodb.client.models import SearchResult
from prefect_videodb.errors import ConfigurationError
from prefect_videodb.recording.inputs import Plan
from prefect_videodb.recording.lateness import Due, Skipped, begins_as_expected, decide, due_of, overrun_s
from prefect_videodb.recording.models import WhenLate, Window
from prefect_videodb.recording.shots import hits

NINE = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HALF_PAST = NINE + timedelta(minutes=30)
FOR_HALF_AN_HOUR = Plan.of("Daily", 30, None)
UNTIL_HALF_PAST = Plan.of("Daily", None, HALF_PAST)


def at(minutes: float) -> datetime:
    return NINE + timedelta(minutes=minutes)


SCHEDULED, BY_HAND = Due(NINE), Due(NINE, by_hand=True)
FROM_NINE = Window(start=NINE, end=HALF_PAST)


@pytest.mark.parametrize("plan", [FOR_HALF_AN_HOUR, UNTIL_HALF_PAST])
@pytest.mark.parametrize("late", [0, 0.3, 4, 6, 29.9])
def test_window_counts_from_the_scheduled_time(plan: Plan, late: float) -> None:
    assert decide(SCHEDULED, at(late), plan, "remaining") == FROM_NINE


@pytest.mark.parametrize("late", [6, 29.9])
def test_run_by_hand_that_waited_counts_from_when_it_was_started(late: float) -> None:
    assert decide(BY_HAND, at(late), FOR_HALF_AN_HOUR, "remaining") == FROM_NINE


@pytest.mark.parametrize("late", [0, 0.3, 4.9])
def test_run_by_hand_has_now(late: float) -> None:
    assert decide(BY_HAND, at(late), FOR_HALF_AN_HOUR, "remaining") == Window(start=at(late), end=at(late + 30))
    assert decide(BY_HAND, at(late), Plan.of("Short", 0.2, None), "remaining").start == at(late)
    assert decide(BY_HAND, at(late), UNTIL_HALF_PAST, "remaining") == Window(start=at(late), end=HALF_PAST)


@pytest.mark.parametrize("due", [SCHEDULED, BY_HAND])
@pytest.mark.parametrize("plan", [FOR_HALF_AN_HOUR, UNTIL_HALF_PAST])
@pytest.mark.parametrize("late", [30, 31, 3 * 60, 75 * 60])
def test_window_that_is_over_is_skipped(due: Due, plan: Plan, late: float) -> None:
    with pytest.raises(Skipped, match="was to end at 2026-11-24 09:30:00 UTC"):
        decide(due, at(late), plan, "remaining")


@pytest.mark.parametrize("late", [0, 6, 31, 75 * 60])
def test_full_length_however_late(late: float) -> None:
    assert decide(SCHEDULED, at(late), FOR_HALF_AN_HOUR, "full") == Window(start=at(late), end=at(late + 30))


def test_full_length_ends_at_an_end_time() -> None:
    assert decide(SCHEDULED, at(10), UNTIL_HALF_PAST, "full") == Window(start=at(10), end=HALF_PAST)
    with pytest.raises(Skipped):
        decide(SCHEDULED, at(30), UNTIL_HALF_PAST, "full")


@pytest.mark.parametrize("due", [SCHEDULED, BY_HAND])
def test_skip_when_more_than_five_minutes_late(due: Due) -> None:
    assert decide(due, at(4.9), FOR_HALF_AN_HOUR, "skip").end <= at(34.9)
    with pytest.raises(Skipped, match="began 6:00 late, and its options say to skip it"):
        decide(due, at(6), FOR_HALF_AN_HOUR, "skip")


@pytest.mark.parametrize("when_late", ["remaining", "full", "skip"])
def test_what_could_never_be_recorded_is_refused(when_late: WhenLate) -> None:
    with pytest.raises(ConfigurationError, match="already past"):
        decide(SCHEDULED, at(0), Plan.of("Daily", None, at(-1)), when_late)
    with pytest.raises(ConfigurationError, match="at most"):
        decide(SCHEDULED, at(0), Plan.of("Daily", 25 * 60, None), when_late)


# --- when a run was due -----------------------------------------------------------------------------------------------


def run(expected: datetime, created: datetime, *, auto_scheduled: bool = False) -> FlowRun:
    when = {"expected_start_time": expected, "created": created, "auto_scheduled": auto_scheduled}
    return FlowRun.model_validate({"flow_id": uuid4(), **when})


def put(state: State[Any], when: datetime) -> State[Any]:
    return state.model_copy(update={"timestamp": when})


@pytest.mark.parametrize(
    ("found", "by_hand"),
    [
        (run(NINE, NINE - timedelta(seconds=1)), True),  # somebody started it
        (run(NINE, NINE + timedelta(seconds=1)), True),
        (run(NINE, at(-60)), False),  # for later
        (run(NINE, at(75 * 60)), False),  # for a time that was past
        (run(NINE, NINE, auto_scheduled=True), False),
    ],
)
def test_due_by_hand_or_at_an_appointed_time(found: FlowRun, *, by_hand: bool) -> None:
    assert due_of(found) == Due(NINE, by_hand=by_hand)


def test_what_only_waits_does_not_move_a_run() -> None:
    states = [
        put(Scheduled(scheduled_time=NINE), at(-60)),
        put(Scheduled(name="AwaitingConcurrencySlot", scheduled_time=at(10)), at(9)),
        put(Pending(), at(10)),
        put(AwaitingRetry(scheduled_time=at(20)), at(20)),
        put(Scheduled(name="Recording", scheduled_time=at(25)), at(24)),
        put(Scheduled(name="Late", scheduled_time=at(26)), at(26)),
    ]
    assert due_of(run(NINE, at(-60)), states) == SCHEDULED


def test_begins_as_expected() -> None:
    found = run(NINE, at(-60))
    assert begins_as_expected(found, at(0.4))
    assert not begins_as_expected(found, at(0.6))
    assert not begins_as_expected(found, at(-0.6))  # moved


def test_run_that_somebody_moved() -> None:
    states = [put(Scheduled(scheduled_time=at(60)), at(-30)), put(Scheduled(scheduled_time=NINE), at(-60))]
    assert due_of(run(NINE, at(-60)), states) == Due(at(60))
    assert due_of(run(NINE, at(-60)), [put(Scheduled(scheduled_time=at(60)), at(60))]) == Due(at(60), by_hand=True)


# --- stopped late -----------------------------------------------------------------------------------------------------


def test_overrun_is_what_the_video_has_after_the_planned_end() -> None:
    assert overrun_s(NINE, 30 * 60.0 + 8, HALF_PAST) == 0.0  # is usual
    assert overrun_s(NINE, 45 * 60.0, HALF_PAST) == 15 * 60.0
    assert overrun_s(at(10), 30 * 60.0, HALF_PAST) == 10 * 60.0  # begun late, and stopped late
    assert overrun_s(NINE, 10 * 60.0, HALF_PAST) == 0.0
    assert overrun_s(NINE, None, HALF_PAST) == 0.0


def test_hits_after_the_planned_end_do_not_count() -> None:
    shots = [{"start": start, "end": start + 5.0, "text": "budget"} for start in (10.0, 1799.0, 1801.0)]
    found = SearchResult.model_validate({"results": [{"video_id": "m-1", "docs": shots}]})
    assert len(found.shots) == 3
    assert [hit.start_s for hit in hits("budget", found, 1800.0)] == [10.0, 1799.0]
