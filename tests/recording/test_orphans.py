"""Whether a stream that runs is to be left alone, is to go on, or is to be stopped."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled

from prefect_videodb.durable.recovery import MAX_CRASHES
from prefect_videodb.recording.memory import label
from prefect_videodb.recording.orphans import Verdict, judge

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
GRACE = timedelta(minutes=10)
AN_HOUR_AGO = NOW - timedelta(hours=1)


def run(
    state: Any, known: dict[str, str] | None = None, *, since: timedelta = timedelta(minutes=5), deployed: bool = True
) -> FlowRun:
    state.timestamp = NOW - since
    return FlowRun(
        flow_id=uuid4(), deployment_id=uuid4() if deployed else None, state=state, labels=label(**known or {})
    )


def window(ends_in: timedelta) -> dict[str, str]:
    return {"window_start": AN_HOUR_AGO.isoformat(), "window_end": (NOW + ends_in).isoformat()}


SOON = window(timedelta(minutes=5))


def watch(due_in: timedelta) -> dict[str, str]:
    return {"kind": "watch", "due_by": (NOW + due_in).isoformat()}


DUE, OVERDUE = watch(timedelta(minutes=5)), watch(timedelta(minutes=-40))
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("recording", "verdict", "reason"),
    [
        (None, Verdict.STOP, "deleted"),
        (run(Running(), SOON), Verdict.RECORDING, ""),
        (run(Running(), since=timedelta(minutes=30)), Verdict.RECORDING, ""),
        (run(Pending()), Verdict.RECORDING, ""),
        (run(Scheduled(name="Recording"), SOON), Verdict.RECORDING, ""),
        (run(Completed(), SOON), Verdict.STOP, "completed"),
        (run(Failed(), SOON), Verdict.STOP, "failed"),
        (run(Cancelled(), SOON), Verdict.STOP, "cancelled"),
        (run(Cancelling(), SOON, since=timedelta(seconds=20)), Verdict.RECORDING, ""),
        (run(Cancelling(), SOON, since=timedelta(minutes=2)), Verdict.STOP, "being cancelled"),
        (run(Crashed(), SOON, since=timedelta(seconds=20)), Verdict.RECORDING, "just now"),
        (run(Crashed(), SOON), Verdict.GO_ON, "crashed"),
        (run(Crashed(), SOON | {"crashes": str(MAX_CRASHES)}), Verdict.STOP, "too often"),
        (run(Crashed(), SOON, deployed=False), Verdict.STOP, "crashed"),
        (run(Running(), window(timedelta(minutes=-9))), Verdict.RECORDING, ""),
        (run(Running(), window(timedelta(minutes=-11))), Verdict.STOP, "planned end"),
        (run(Scheduled(name="Recording"), window(timedelta(minutes=-11))), Verdict.STOP, "planned end"),
        (run(Running(), DUE, since=timedelta(days=40)), Verdict.RECORDING, "watched"),
        (run(Scheduled(name="Watching"), OVERDUE, since=HALF_AN_HOUR), Verdict.RECORDING, "watched"),
        (run(Running(), OVERDUE, since=timedelta(minutes=1)), Verdict.RECORDING, "watched"),
        (run(Running(), OVERDUE, since=HALF_AN_HOUR), Verdict.GO_ON, "looks no more"),
        (run(Running(), OVERDUE, since=HALF_AN_HOUR, deployed=False), Verdict.STOP, "looks no more"),
        (run(Running(), DUE | window(timedelta(minutes=-11))), Verdict.STOP, "planned end"),
        (run(Cancelled(), DUE), Verdict.STOP, "cancelled"),
    ],
)
def test_a_stream_is_judged_by_its_run(recording: FlowRun | None, verdict: Verdict, reason: str) -> None:
    found, why = judge(recording, AN_HOUR_AGO, NOW, GRACE)
    assert found is verdict
    assert reason in why


@pytest.mark.parametrize(
    ("recording", "verdict"),
    [
        (run(Scheduled(name="Recording"), SOON), Verdict.RECORDING),
        (run(Scheduled(name="Recording"), window(timedelta(0))), Verdict.STOP),
        (run(Scheduled(name="Recording")), Verdict.STOP),  # it crashed before it planned its end
        (run(Scheduled(name="Watching"), DUE), Verdict.STOP),
        (run(Running(), window(timedelta(0))), Verdict.RECORDING),  # somebody has taken it all the same
    ],
)
def test_run_without_deployment_ends_at_its_planned_end(recording: FlowRun, verdict: Verdict) -> None:
    found, why = judge(recording, AN_HOUR_AGO, NOW, GRACE, is_abandoned=True)
    assert found is verdict
    assert (why == "its deployment was deleted") == (verdict is Verdict.STOP)


def test_nothing_records_for_longer_than_a_day() -> None:
    made = NOW - timedelta(hours=25)
    assert judge(run(Running()), made, NOW, GRACE)[0] is Verdict.STOP
    assert judge(run(Running()), None, NOW, GRACE)[0] is Verdict.RECORDING
    assert judge(run(Running(), DUE), made, NOW, GRACE)[0] is Verdict.RECORDING  # a watch may


def test_a_recording_that_never_began_is_stopped() -> None:
    verdict, reason = judge(run(Running()), NOW - timedelta(minutes=71), NOW, GRACE)
    assert verdict is Verdict.STOP
    assert "never began" in reason
