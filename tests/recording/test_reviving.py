"""Which crashed runs are scheduled again by whoever finds them, and that nobody is executed twice for it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Crashed, Running

from prefect_videodb.recording.crashes import MOST_CRASHES
from prefect_videodb.recording.memory import label
from prefect_videodb.recording.orphans import RECORD_MEETING
from prefect_videodb.recording.reviving import is_left_lying

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FOLLOW_UP = "follow-up-alert"
CONNECTED = {"rtstream_id": "rts-1"}


def run(state: Any, minutes: float, known: dict[str, str] | None = None, *, deployed: bool = True) -> FlowRun:
    state.timestamp = NOW - timedelta(minutes=minutes)
    return FlowRun(
        flow_id=uuid4(), deployment_id=uuid4() if deployed else None, state=state, labels=label(**known or {})
    )


@pytest.mark.parametrize(
    ("crashed", "flow", "is_left"),
    [
        (run(Crashed(), 5), FOLLOW_UP, True),
        (run(Crashed(), 0.5), FOLLOW_UP, False),  # its hook comes first
        (run(Crashed(), 23 * 60), FOLLOW_UP, True),
        (run(Crashed(), 25 * 60), FOLLOW_UP, False),
        (run(Crashed(), 5, deployed=False), FOLLOW_UP, False),
        (run(Crashed(), 5, {"crashes": str(MOST_CRASHES)}), FOLLOW_UP, False),
        (run(Running(), 5), FOLLOW_UP, False),
        (run(Completed(), 5), FOLLOW_UP, False),
        (run(Crashed(), 5 * 60, CONNECTED), RECORD_MEETING, True),  # killed in its export
        (run(Crashed(), 5), RECORD_MEETING, True),
        (run(Crashed(), 5 * 60), RECORD_MEETING, False),  # what it was to record is over
    ],
)
def test_what_crashed_lately_and_may_go_on_is_not_left_lying(crashed: FlowRun, flow: str, is_left: bool) -> None:  # noqa: FBT001 - a row
    assert is_left_lying(crashed, flow, NOW) is is_left
