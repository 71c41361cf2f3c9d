"""Find the runs whose process is gone without anybody having noticed: their worker died with them.

Prefect's engine sends a heartbeat while it executes a run. A run that had them and has no more is executed by nobody;
so is one that a worker took and never began.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType

from prefect_videodb.recording.listing import runs_of
from prefect_videodb.recording.text import clock

HEARTBEAT = "prefect.flow-run.heartbeat"
# Prefect sends one every three minutes, unless told to send more; three in a row do not go missing.
SILENCE = timedelta(minutes=10)
# The hour's start of many meetings makes a busy worker late, but not by so much.
_SLOWEST_START = timedelta(minutes=10)


def silent_runs(prefect: SyncPrefectClient, flow: str, now: datetime) -> Iterator[tuple[FlowRun, str]]:
    """Give the deployed runs of a flow that nobody executes though they are said to be executed, and why.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    for run in _executed(prefect, flow):
        if reason := why_silent(run, _last_heartbeat(prefect, run), now):
            yield run, reason


def why_silent(run: FlowRun, last_heartbeat: datetime | None, now: datetime) -> str | None:
    """Tell why nobody executes a run that is said to be executed; None when somebody does, or nobody can know. Pure.

    Args:
        run: it is pending or running.
        last_heartbeat: since it began to run; None when there was none, and nothing can be concluded from that.
        now: the moment.
    """
    if run.state is None:
        return None
    if run.state.is_pending():
        due = max(run.state.timestamp, run.state.state_details.scheduled_time or run.state.timestamp)
        return "a worker took it and did not begin" if now - due > _SLOWEST_START else None
    if last_heartbeat is None or now - last_heartbeat <= SILENCE:
        return None
    return f"its process gives no sign of life since {clock(last_heartbeat)}"


def _executed(prefect: SyncPrefectClient, flow: str) -> list[FlowRun]:
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])),
        deployment_id=FlowRunFilterDeploymentId(is_null_=False),
    )
    return runs_of(prefect, flow, wanted)


def _last_heartbeat(prefect: SyncPrefectClient, run: FlowRun) -> datetime | None:
    if run.state is None or not run.state.is_running():
        return None
    heartbeats = {
        "occurred": {"since": run.state.timestamp.isoformat()},
        "event": {"name": [HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
    }
    answer = prefect.request("POST", "/events/filter", json={"filter": heartbeats, "limit": 1})
    events = answer.json()["events"]
    return datetime.fromisoformat(events[0]["occurred"]) if events else None
