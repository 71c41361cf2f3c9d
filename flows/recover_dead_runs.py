"""Reschedule the runs of this package's flows whose worker died."""

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run as this_run

from prefect_videodb.archiving.models import ARCHIVE_RECORDING
from prefect_videodb.durable.recovery import recover_all
from prefect_videodb.following.models import FOLLOW_UP_ALERT
from prefect_videodb.recording.orphans import RECORD_MEETING
from prefect_videodb.recording.text import clock
from prefect_videodb.watching.life import WATCH_STREAM

RECOVERED_FLOWS = (RECORD_MEETING, WATCH_STREAM, FOLLOW_UP_ALERT, ARCHIVE_RECORDING)
"""The flows whose runs go on after their process died."""


def _run_name() -> str:
    return f"look for dead runs at {clock(this_run.get_scheduled_start_time())}"


@flow(name="recover-dead-runs", retries=0, flow_run_name=_run_name)
def recover_dead_runs() -> None:
    """Reschedule the runs that nobody executes: their worker died, or their process did and nobody rescheduled them.

    Prefect itself tells which workers are offline. A run that crashed too often is left to *stop-orphaned-streams*.
    """
    with get_client(sync_client=True) as prefect:
        recover_all(prefect, RECOVERED_FLOWS)
