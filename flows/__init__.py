"""Flows that can be deployed as they are."""

from prefect_videodb.flows.archive_recording import archive_recording
from prefect_videodb.flows.change_recording import change_recording
from prefect_videodb.flows.follow_up_alert import follow_up_alert
from prefect_videodb.flows.record_meeting import record_meeting
from prefect_videodb.flows.recover_dead_runs import recover_dead_runs
from prefect_videodb.flows.stop_orphaned_streams import stop_orphaned_streams
from prefect_videodb.flows.watch_stream import watch_stream

__all__ = [
    "archive_recording",
    "change_recording",
    "follow_up_alert",
    "record_meeting",
    "recover_dead_runs",
    "stop_orphaned_streams",
    "watch_stream",
]
