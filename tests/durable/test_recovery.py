"""Which runs are executed by nobody, and how their crashes are counted."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelling, Completed, Crashed, Pending, Running, Scheduled

from prefect_videodb.durable.prefect_api import server_time
from prefect_videodb.durable.recovery import (
    CRASHES,
    MAX_CRASHES,
    Holder,
    crash_count,
    death_of,
    is_abandoned,
    is_suspect,
    may_recover,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ONLINE = {"alive"}


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def run(
    state: Any,
    minutes: float = 5,
    *,
    worker: str | None = None,
    kind: str = "process",
    incarnation: str | None = None,
    due: float | None = None,
    crashes: str = "",
    deployed: bool = True,
) -> FlowRun:
    """Make a run that has been in its state for so many minutes, with what its worker wrote down."""
    state.timestamp = ago(minutes)
    state.state_details.scheduled_time = None if due is None else ago(due)
    labels: dict[str, Any] = {CRASHES: crashes}
    if worker:
        labels |= {"prefect.worker.name": worker, "prefect.worker.type": kind}
    pid = str(Holder(worker, incarnation)) if worker and incarnation else None
    return FlowRun(
        flow_id=uuid4(),
        deployment_id=uuid4() if deployed else None,
        state=state,
        state_id=state.id,
        labels=labels,
        infrastructure_pid=pid,
    )


def submitting() -> State[Any]:
    return State(type=StateType.PENDING, name="Submitting")


def provisioning() -> State[Any]:
    return State(type=StateType.PENDING, name="InfrastructurePending")


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (run(Running(), worker="alive"), None),
        (run(Running(), worker="dead"), "'dead' is offline"),
        (run(Running(), worker="dead", kind="kubernetes"), None),  # its pod lives on
        (run(Running(), worker="dead", incarnation="1"), "'dead' is offline"),
        (run(Running()), None),  # nobody's worker
        (run(Cancelling(), worker="dead", incarnation="1"), "'dead' is offline"),
        (run(submitting(), worker="dead"), "'dead' is offline"),
        (run(submitting(), worker="dead", kind="kubernetes"), "'dead' is offline"),
        (run(provisioning(), worker="dead", kind="kubernetes"), None),
        (run(provisioning(), 16, worker="alive", kind="kubernetes"), "did not begin"),
        (run(submitting(), 16, worker="alive"), "did not begin"),
        (run(submitting(), 60, worker="alive", due=5), None),  # claimed ahead
        (run(Pending(), 1, worker="dead"), None),  # claimed just now: the label is that of an earlier execution
        (run(Pending(), 2, worker="dead"), "did not begin"),
        (run(Pending(), 2, worker="alive"), "did not begin"),
        (run(Pending(), 2), "did not begin"),
        (run(Pending(), 60, worker="alive", incarnation="1"), None),  # it knows what it holds
        (run(Pending(), 0.1, worker="dead", incarnation="1"), None),  # not marked anew yet
        (run(Pending(), 2, worker="dead", incarnation="1"), "'dead' is offline"),
    ],
)
def test_death_by_worker_status(held: FlowRun, why: str | None) -> None:
    death = death_of(held, ONLINE, NOW)
    assert death is None if why is None else death is not None and why in death.why


def test_worker_status_unknown() -> None:
    assert death_of(run(Running(), worker="dead"), None, NOW) is None


@pytest.mark.parametrize(("heartbeat", "is_dead"), [(9, False), (11, True), (None, False)])
def test_death_by_heartbeat(heartbeat: float | None, *, is_dead: bool) -> None:
    last = None if heartbeat is None else ago(heartbeat)
    death = death_of(run(Running(), 60, worker="alive"), ONLINE, NOW, last)
    assert (death is not None and "no heartbeat" in death.why) is is_dead


def test_only_a_possible_culprit_is_counted() -> None:
    """What had a process of its own did not kill its worker."""
    recent = f"2 {datetime.now(UTC).isoformat()} x"
    for held, counts in (
        (run(Running(), worker="dead", incarnation="1"), True),
        (run(Running(), worker="dead", incarnation="1", crashes=recent), False),  # executed apart
        (run(Running(), worker="dead"), False),
        (run(Pending(), 2), True),
    ):
        death = death_of(held, ONLINE, NOW)
        assert death is not None
        assert death.counts is counts


@pytest.mark.parametrize(
    ("crashed", "count"),
    [
        (run(Crashed()), 0),
        (run(Crashed(), crashes="3"), 3),
        (run(Crashed(), crashes=f"3 {ago(40).isoformat()} x"), 3),
        (run(Crashed(), crashes=f"3 {ago(70).isoformat()} x"), 0),
        (run(Crashed(), 60 * 24, crashes=f"5 {ago(60 * 24 + 40).isoformat()} x"), 5),  # given up stays given up
    ],
)
def test_crash_count_begins_anew_after_an_hour(crashed: FlowRun, count: int) -> None:
    assert crash_count(crashed) == count
    assert is_suspect(crashed) is (count >= 2)
    assert may_recover(crashed) is (count < MAX_CRASHES)


def test_counted_crash_may_recover() -> None:
    """Killed between counting and rescheduling, or told twice by Prefect's worker: it is counted once."""
    last, at = run(Crashed()), ago(5).isoformat()
    last.labels[CRASHES] = f"{MAX_CRASHES} {at} {last.state_id} 3"
    told_again = run(Crashed(), 4.9, crashes=f"{MAX_CRASHES} {at} x 0")
    later, next_execution = run(Crashed(), 4.5, crashes=f"{MAX_CRASHES} {at} x 0"), run(Crashed(), 4.9)
    next_execution.labels[CRASHES] = f"{MAX_CRASHES} {at} x 1"
    assert [may_recover(one) for one in (last, told_again, later, next_execution)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("found", "is_left"),
    [
        (run(Crashed(), 5), True),
        (run(Crashed(), 0.5), False),  # its hook comes first
        (run(Crashed(), 23 * 60), True),
        (run(Crashed(), 25 * 60), False),
        (run(Crashed(), 5, deployed=False), False),
        (run(Crashed(), 5, crashes=str(MAX_CRASHES)), False),
        (run(Running(), 5), False),
        (run(Completed(), 5), False),
        (run(Scheduled(), 5), False),
    ],
)
def test_abandoned_crash(found: FlowRun, *, is_left: bool) -> None:
    assert is_abandoned(found, NOW) is is_left


def test_holder_is_read_back() -> None:
    held = run(Running(), worker="a worker: the second", incarnation="1f")
    assert Holder.of(held) == Holder("a worker: the second", "1f")


def test_server_time() -> None:
    assert server_time(httpx.Response(200, headers={"date": "Tue, 24 Nov 2026 12:00:00 GMT"})) == NOW
    assert abs(server_time(httpx.Response(200)) - datetime.now(UTC)) < timedelta(minutes=1)
