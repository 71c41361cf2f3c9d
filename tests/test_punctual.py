"""How long before its time a run is begun, and what one that was begun early knows of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun

from prefect_videodb.precedence import current, rest
from prefect_videodb.punctual import LEAD, LONGEST_LEAD, due_at, lead, punctual
from prefect_videodb.recording.parking import is_begun_for, is_worth_parking, wake_at
from prefect_videodb.worker.execution import Execution


@pytest.fixture
def due() -> Iterator[datetime]:
    """Give the moment at which the run of this test is due: in a minute."""
    due = datetime.now(UTC) + timedelta(minutes=1)
    token = due_at.set(due)
    yield due
    due_at.reset(token)


def test_a_run_begins_early_and_earlier_where_others_are_due_before_it() -> None:
    assert lead(0, is_first=True) == LEAD
    leads = [lead(before, is_first=True) for before in range(1000)]
    assert leads == sorted(leads)
    assert leads[50] > LEAD + timedelta(seconds=30)
    assert leads[-1] == LONGEST_LEAD


def test_a_run_that_goes_on_begins_at_its_time_unless_others_are_due_before_it() -> None:
    assert lead(0, is_first=False) == timedelta(0)
    assert timedelta(0) < lead(50, is_first=False) < lead(50, is_first=True)


def test_what_is_held_up_before_its_time_is_not_due_any_sooner(due: datetime) -> None:
    held = due - timedelta(seconds=40)

    def due_of(name: str) -> datetime | None:
        times = {"next_scheduled_start_time": held, "expected_start_time": due}
        return Execution(FlowRun.model_validate({"flow_id": uuid4(), "state_name": name} | times)).due

    assert due_of("AwaitingConcurrencySlot") == due
    assert due_of("AwaitingRetry") == due
    assert due_of("Scheduled") == held  # somebody moved it


@pytest.mark.parametrize("arguments", [{"timeout_seconds": 60}, {}])
def test_a_flow_that_cannot_wait_for_its_time_is_not_marked(arguments: dict[str, Any]) -> None:
    async def waits() -> None: ...

    def works() -> None: ...

    with pytest.raises(TypeError, match="cannot wait for its time"):
        punctual(flow(works, **arguments) if arguments else flow(waits))


def test_a_run_starts_until_it_says_that_it_waits() -> None:
    execution = Execution(FlowRun(flow_id=uuid4()))
    rest()  # said by no run
    assert execution.is_starting()
    token = current.set(execution.precedence)
    rest()
    current.reset(token)
    assert not execution.is_starting()


def test_a_recording_that_was_begun_for_its_end_is_not_parked_again(due: datetime) -> None:
    end = due + timedelta(seconds=15)
    assert wake_at(end) == due
    assert is_begun_for(end)
    assert not is_worth_parking(end)


def test_a_recording_whose_end_was_moved_is_parked_again(due: datetime) -> None:
    end = due + timedelta(minutes=5)
    assert not is_begun_for(end)
    assert is_worth_parking(end)
    due_at.set(None)  # executed by a worker that begins nothing early
    assert is_worth_parking(end)
    assert not is_worth_parking(datetime.now(UTC) + timedelta(seconds=20))
