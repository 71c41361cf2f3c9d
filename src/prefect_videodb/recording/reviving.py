"""Schedule again what nobody executes any more and nobody else schedules: the net below the hooks and the workers.

A run whose worker was killed with it is said to be executed for ever. One that crashed has a hook that schedules it
again; where that failed, because Prefect was away or its process was killed as well, nobody does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from prefect_videodb._logging import get_logger
from prefect_videodb.recording.crashes import go_on, may_go_on
from prefect_videodb.recording.listing import runs_of
from prefect_videodb.recording.memory import remembered
from prefect_videodb.recording.orphans import RECORD_MEETING, SETTLE
from prefect_videodb.recording.overtaking import Overtaken, read_unchanged
from prefect_videodb.recording.silence import silent_runs

# What was left lying for longer, somebody has seen, and has had reasons to let lie.
_LONGEST_AGO = timedelta(days=1)
# What a recording that never connected was to record is over by then.
_MISSED = timedelta(hours=1)


def revive_silent(prefect: SyncPrefectClient, flows: Mapping[str, str]) -> None:
    """Schedule again what is said to be executed and is not: its worker was killed with it, so nobody noticed.

    Args:
        prefect: whose runs.
        flows: the names of the flows, each with what its runs' state is called until they are executed again.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    for flow, name in flows.items():
        for run, reason in silent_runs(prefect, flow, datetime.now(UTC)):
            get_logger().warning("Run %s is executed by nobody: %s", run.name, reason)
            with _whatever_happens(run):
                if may_go_on(run):
                    go_on(prefect, run, name)
                else:  # then its stream is stopped
                    _give_up(prefect, run, reason)


def revive_crashed(prefect: SyncPrefectClient, flows: Mapping[str, str]) -> None:
    """Schedule again what crashed more than a minute ago, and less than a day, and may go on.

    Args:
        prefect: whose runs.
        flows: the names of the flows, each with what its runs' state is called until they are executed again.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    for flow, name in flows.items():
        for run in _crashed(prefect, flow):
            if is_left_lying(run, flow, datetime.now(UTC)):
                get_logger().warning("Run %s crashed, and nobody else schedules it again", run.name)
                with _whatever_happens(run):
                    go_on(prefect, run, name)


def is_left_lying(run: FlowRun, flow: str, now: datetime) -> bool:
    """Say whether a crashed run of this flow is to be scheduled again by whoever finds it. Pure."""
    if run.state is None or not run.state.is_crashed() or not may_go_on(run):
        return False
    since = now - run.state.timestamp
    has_missed_it = flow == RECORD_MEETING and "rtstream_id" not in remembered(run) and since > _MISSED
    return SETTLE <= since < _LONGEST_AGO and not has_missed_it


def _give_up(prefect: SyncPrefectClient, run: FlowRun, reason: str) -> None:
    read_unchanged(prefect, run)
    prefect.set_flow_run_state(run.id, Crashed(message=f"Executed by nobody: {reason}"), force=True)


@contextmanager
def _whatever_happens(run: FlowRun) -> Iterator[None]:
    """Trouble with one run keeps no other from its turn: the next look is soon."""
    try:
        yield
    except Overtaken as overtaken:
        get_logger().info("Run %s needs nobody: %s", run.name, overtaken)
    except (PrefectException, httpx.HTTPError, RuntimeError) as error:
        get_logger().error("Run %s could not be looked after: %s", run.name, error)


def _crashed(prefect: SyncPrefectClient, flow: str) -> list[FlowRun]:
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        deployment_id=FlowRunFilterDeploymentId(is_null_=False),
        end_time=FlowRunFilterEndTime.model_validate({"after_": datetime.now(UTC) - _LONGEST_AGO}),
    )
    return runs_of(prefect, flow, wanted)
