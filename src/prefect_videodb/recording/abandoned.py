"""Runs that wait without a process and whose deployment was deleted meanwhile: no worker executes them again.

Prefect's process worker cancels such a run when it would be executed; others leave it in its state for ever. What it
recorded is exported at its planned end. Nobody searches it: that needs the run's flow.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateName as StateName
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Failed

from prefect_videodb._logging import get_logger
from prefect_videodb.durable.prefect_api import PAGE, runs_of
from prefect_videodb.durable.recovery import AWAITING_RETRY, read_unchanged
from prefect_videodb.recording.endings import Requested
from prefect_videodb.recording.memory import remembered
from prefect_videodb.recording.orphans import DEPLOYMENT_DELETED, RECORD_MEETING
from prefect_videodb.recording.parking import LATE, PARKED
from prefect_videodb.recording.repeats import INCOMPLETE
from prefect_videodb.recording.showing import show_ended
from prefect_videodb.watching.life import WATCH_STREAM, WATCHING, is_watch

if TYPE_CHECKING:
    from uuid import UUID


def abandoned_runs(prefect: SyncPrefectClient) -> list[FlowRun]:
    """Return the parked recordings and watches whose deployment was deleted.

    Raises:
        httpx.HTTPError, PrefectException: Prefect cannot be asked.
    """
    waiting = FlowRunFilter(state=FlowRunFilterState(name=StateName(any_=[PARKED, WATCHING, LATE, AWAITING_RETRY])))
    found = [run for flow in (RECORD_MEETING, WATCH_STREAM) for run in runs_of(prefect, flow, waiting)]
    begun = [run for run in found if run.state and run.state.is_scheduled() and run.run_count]
    named = list({run.deployment_id for run in begun if run.deployment_id})
    known: set[UUID] = set()
    for first in range(0, len(named), PAGE):
        wanted = DeploymentFilter(id=DeploymentFilterId(any_=named[first : first + PAGE]))
        known |= {one.id for one in prefect.read_deployments(deployment_filter=wanted, limit=PAGE)}
    return [run for run in begun if run.deployment_id and run.deployment_id not in known]


def end_abandoned(
    prefect: SyncPrefectClient, run: FlowRun, video: Requested | None, *, has_stream: bool = True
) -> None:
    """End a run whose deployment was deleted, and say in its state what became of it.

    Args:
        prefect: Prefect.
        run: as it was when it was found parked.
        video: what it recorded; None where nothing is exported.
        has_stream: whether its stream was found, and is stopped.

    Raises:
        StaleRun: the run has another state since.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    run = read_unchanged(prefect, run)
    state = _state(run, [video] if video else [], has_stream=has_stream)
    show_ended(prefect, run, DEPLOYMENT_DELETED, [video] if video else [])
    prefect.set_flow_run_state(run.id, state, force=True)  # nobody executes it who could be in the middle of something
    get_logger().warning("Ended run %s: %s", run.name, state.message)


def _state(run: FlowRun, videos: Sequence[Requested], *, has_stream: bool) -> State[Any]:
    gone = "Its deployment was deleted, so no worker can go on with it"
    if not has_stream and (rtstream_id := remembered(run).get("rtstream_id")):
        return Failed(
            message=f"{gone}. Its stream {rtstream_id} is on none of the accounts of which a VideoDBCredentials block "
            "is saved: stop it in VideoDB's console, or it is billed on"
        )
    if is_watch(remembered(run)):
        return Cancelled(message=f"{gone}. Its live indexes are stopped, and its stream, unless it was adopted")
    if not videos:
        return Failed(message=f"{gone}. Nothing records any more, and there is no video")
    what = f"the video {videos[0].video_id}" if videos[0].video_id else "being made into a video of its name"
    return Completed(
        name=INCOMPLETE,
        message=f"{gone}. Its stream is stopped, and what it recorded is {what}: there is no search, clip and report",
    )
