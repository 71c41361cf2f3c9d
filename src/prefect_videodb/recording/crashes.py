"""A recording whose process died goes on, unless it died too often."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectException

from prefect_videodb._logging import get_logger
from prefect_videodb.recording.memory import Memory, label, remembered
from prefect_videodb.recording.parking import PARKED, schedule
from prefect_videodb.watching.life import WATCHING, is_watch

# What kills a recording so often will kill it again; then its stream is stopped.
MOST_CRASHES = 5
# What killed it may still be there, a machine out of memory for one.
_PAUSE = timedelta(seconds=5)


def crashes(run: FlowRun) -> int:
    """Count how often the run was put back after a crash."""
    count = remembered(run).get("crashes", "0")
    return int(count) if count.isdecimal() else 0


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


def goes_on(flow_run_id: UUID, name: str | None = None) -> bool:
    """Schedule a run whose process died again, and say whether that could be done. `name` is its state's meanwhile."""
    try:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(flow_run_id)
            if may_go_on(run):
                go_on(client, run, name)
                return True
    except (PrefectException, httpx.HTTPError, RuntimeError) as error:
        get_logger().warning("Run %s cannot go on: %s", flow_run_id, error)
    return False


def go_on(client: SyncPrefectClient, run: FlowRun, name: str | None = None) -> None:
    """Schedule a crashed run again: it finds what it did, and goes on from there. `name` is its state's meanwhile.

    Raises:
        RuntimeError: Prefect did not accept it.
        httpx.HTTPError, PrefectException: Prefect is away.
    """
    # Counted first: killed after this line, it is tried less often, never more.
    client.update_flow_run_labels(run.id, label(crashes=str(crashes(run) + 1)))
    told = f"Crashed, goes on (try {crashes(run) + 1} of {MOST_CRASHES})"
    again = datetime.now(UTC) + _PAUSE
    at = max(again, run.expected_start_time or again)  # it may have been begun before its time
    schedule(client, run.id, at, told, name or (WATCHING if is_watch(remembered(run)) else PARKED))
