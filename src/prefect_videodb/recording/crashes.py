"""A recording whose process died goes on, unless it died too often."""

import threading
import time
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound, PrefectException

from prefect_videodb._logging import get_logger
from prefect_videodb.recording.memory import Memory, label, remembered
from prefect_videodb.recording.overtaking import read_unchanged, schedule_unchanged
from prefect_videodb.recording.parking import PARKED
from prefect_videodb.recording.text import as_moment
from prefect_videodb.watching.life import WATCHING, is_watch

# What kills a recording so often will kill it again; then its stream is stopped.
MOST_CRASHES = 5
# What killed it may still be there, a machine out of memory for one.
_PAUSE = timedelta(seconds=5)
# Prefect's process worker says that a process died when its runner has said so, and the hooks have run, once more. What
# they scheduled is crashed again by that, unless a worker has taken it in between.
_TOLD_TWICE_WITHIN = timedelta(seconds=15)
_LOOK_AGAIN_AFTER_S = (2.0, 3.0, 5.0)
# How long is waited before Prefect is asked once more, each time. It may be about to end, so not for long.
_ASK_AGAIN_AFTER_S = (1.0, 3.0, 6.0)


class Fate(Enum):
    """What becomes of a run whose process died."""

    GOES_ON = "it is scheduled again, or somebody else has done so"
    IS_OVER = "it may not go on, or there is no such run any more"
    UNKNOWN = "Prefect could not be asked"


def crashes(run: FlowRun) -> int:
    """Count how often the run was put back after a crash."""
    count = remembered(run).get("crashes", "0")
    return int(count) if count.isdecimal() else 0


def _counted_with_this(run: FlowRun) -> int:
    """Count how often the run was put back, with the crash that it is in now."""
    return crashes(run) + (0 if _is_counted(run) else 1)


def _is_counted(run: FlowRun) -> bool:
    """Say whether somebody has counted this crash: two may look after it, and Prefect's worker tells it twice."""
    execution, _, moment = remembered(run).get("crash", "").partition(" ")
    counted_at, crashed_at = as_moment(moment), run.state.timestamp if run.state else None
    if execution != str(run.run_count) or counted_at is None or crashed_at is None:
        return False
    return crashed_at - counted_at < _TOLD_TWICE_WITHIN


def may_go_on(run: FlowRun) -> bool:
    """Say whether a crashed run may be executed again: a worker does that only for runs of a deployment."""
    return run.deployment_id is not None and crashes(run) < MOST_CRASHES


def will_go_on(memory: Memory) -> bool:
    """Say whether a run whose process is terminated will be executed again: nobody cancelled it, and it may go on.

    When Prefect cannot be asked, it will not: nobody could schedule it again.
    """
    try:
        run = memory.read_run()
    except (httpx.HTTPError, PrefectException) as error:
        get_logger().warning("Prefect could not be asked whether the run is cancelled: %s", error)
        return False
    return run.state is not None and run.state.is_running() and may_go_on(run)


def goes_on(flow_run_id: UUID, name: str | None = None) -> Fate:
    """Schedule a run whose process died again, and tell what becomes of it. `name` is its state's meanwhile.

    Where Prefect cannot be asked, not even after a while, the run is left to `stop_orphaned_streams`: what it records
    is worth more than the minutes until then cost.
    """
    for pause_s in (*_ASK_AGAIN_AFTER_S, None):
        try:
            with get_client(sync_client=True) as client:
                run = client.read_flow_run(flow_run_id)
                fate = _go_on_or_not(client, run, name)
            if fate is Fate.GOES_ON:
                look = partial(copy_context().run, _see_that_it_goes_on, flow_run_id, name)
                threading.Thread(target=look, name=f"crash of {flow_run_id}", daemon=True).start()
            return fate  # noqa: TRY300 - it belongs to the try
        except ObjectNotFound:
            return Fate.IS_OVER
        except (PrefectException, httpx.HTTPError, RuntimeError) as error:
            get_logger().warning("Run %s could not be scheduled again: %s", flow_run_id, error)
        if pause_s is not None:
            time.sleep(pause_s)
    get_logger().error("Run %s is left to stop_orphaned_streams", flow_run_id)
    return Fate.UNKNOWN


def _see_that_it_goes_on(flow_run_id: UUID, name: str | None) -> None:
    """Schedule a run once more whose crash is told once more. Where this does not come to it, the automation does."""
    for pause_s in _LOOK_AGAIN_AFTER_S:
        time.sleep(pause_s)
        try:
            with get_client(sync_client=True) as client:
                run = client.read_flow_run(flow_run_id)
                if run.state and run.state.is_running():
                    return
                if run.state and run.state.is_crashed() and _is_counted(run):
                    _schedule_again(client, run, name)
        except (PrefectException, httpx.HTTPError, RuntimeError) as error:
            get_logger().warning("Whether run %s goes on could not be seen: %s", flow_run_id, error)


def _go_on_or_not(client: SyncPrefectClient, run: FlowRun, name: str | None) -> Fate:
    if run.state is None or not run.state.is_crashed():
        # Nobody but who has scheduled it again makes it anything that has not ended.
        is_over = run.state is None or run.state.is_final() or run.state.is_cancelling()
        return Fate.IS_OVER if is_over else Fate.GOES_ON
    if run.deployment_id is None or _counted_with_this(run) > MOST_CRASHES:
        return Fate.IS_OVER
    _schedule_again(client, run, name)
    return Fate.GOES_ON


def go_on(client: SyncPrefectClient, run: FlowRun, name: str | None = None) -> None:
    """Schedule a run again that nobody executes: it finds what it did, and goes on from there.

    Args:
        client: Prefect.
        run: as it was when somebody found that it should go on.
        name: its state's meanwhile.

    Raises:
        Overtaken: its state has changed since.
        RuntimeError: Prefect did not accept it.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    run = read_unchanged(client, run)
    _schedule_again(client, run, name)


def _schedule_again(client: SyncPrefectClient, run: FlowRun, name: str | None) -> None:
    """Schedule a run that was read just now."""
    this_one = _counted_with_this(run)
    # Counted first: killed after this line, it is tried less often, never more.
    if this_one != crashes(run):
        now = run.state.timestamp if run.state else datetime.now(UTC)
        client.update_flow_run_labels(run.id, label(crashes=str(this_one), crash=f"{run.run_count} {now.isoformat()}"))
    again = datetime.now(UTC) + _PAUSE
    at = max(again, run.expected_start_time or again)  # it may have been begun before its time
    told = f"Crashed, goes on (try {this_one} of {MOST_CRASHES})"
    schedule_unchanged(client, run, at, told, name or (WATCHING if is_watch(remembered(run)) else PARKED))
