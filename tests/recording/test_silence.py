"""Whether a run that is said to be executed is executed by somebody."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending, Running

from prefect_videodb.recording.silence import why_silent

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def run(state: Any, since_minutes: float, due_minutes: float | None = None) -> FlowRun:
    state.timestamp = minutes_ago(since_minutes)
    if due_minutes is not None:
        state.state_details.scheduled_time = minutes_ago(due_minutes)
    return FlowRun(flow_id=uuid4(), state=state)


@pytest.mark.parametrize(
    ("executed", "heartbeat", "reason"),
    [
        (run(Running(), 60), minutes_ago(1), None),
        (run(Running(), 60), minutes_ago(9), None),
        (run(Running(), 60), minutes_ago(11), "no sign of life"),
        (run(Running(), 60), None, None),  # its heartbeats may be switched off
        (run(Pending(), 5), None, None),
        (run(Pending(), 11), None, "did not begin"),
        (run(Pending(), 11, due_minutes=5), None, None),  # a worker that looked ahead
        (run(Pending(), 30, due_minutes=11), None, "did not begin"),
    ],
)
def test_a_run_is_silent_when_it_had_a_sign_of_life_and_has_none_any_more(
    executed: FlowRun, heartbeat: datetime | None, reason: str | None
) -> None:
    found = why_silent(executed, heartbeat, NOW)
    assert (found is None) if reason is None else (found is not None and reason in found)
