"""Make sure that everything a watch needs is there, each thing once: indexes, events, alerts."""

from collections.abc import Sequence

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.tasks import (
    disable_alert,
    ensure_alert,
    ensure_event,
    ensure_scene_index,
    start_rtstream_scene_index,
)
from prefect_videodb.tasks.alerts import definition
from prefect_videodb.tasks.indexes import RUNNING, STOPPED
from prefect_videodb.watching.looking import Look
from prefect_videodb.watching.wanted import Wanted, one_for_each_index


def ensure_events(credentials: VideoDBCredentials, wanted: Sequence[Wanted]) -> dict[str, str]:
    """Adopt or create the events. Gives their ids, by the watch's key."""
    ids: dict[str, str] = {}
    for one in wanted:
        if one.event_key not in ids:
            event = ensure_event(credentials, one.watch.label, one.watch.prompt)
            ids[one.event_key] = definition(event.id) or event.id
    return ids


def ensure_indexes_and_alerts(
    credentials: VideoDBCredentials, rtstream_id: str, wanted: Sequence[Wanted], event_ids: dict[str, str]
) -> None:
    """Adopt or create the live indexes and the alerts, and let them run.

    Raises:
        ConfigurationError: the service would refuse a batch, or a person gave an index of ours another purpose.
        VideoDBError: the service refused or failed.
    """
    ids: dict[str, str] = {}
    for one in one_for_each_index(wanted):
        index = ensure_scene_index(
            credentials,
            rtstream_id,
            one.index_name,
            kind=one.kind,
            prompt=one.watch.describe,
            batch_config=one.batch,
            model_name=one.watch.model_name,
        )
        if index.status not in RUNNING and index.status != STOPPED:  # a stopped one was started already
            start_rtstream_scene_index(credentials, rtstream_id, index.id)
        ids[one.index_name] = index.id
    for one in wanted:
        ensure_alert(credentials, rtstream_id, ids[one.index_name], event_ids[one.event_key], one.callback)


def disable_outdated(credentials: VideoDBCredentials, rtstream_id: str, seen: Look) -> None:
    """Disable the alerts that call back where nobody is meant to be called any more: after their successors exist."""
    for index_id, alert_id in seen.outdated:
        get_logger().info("Disabling alert %s, which is outdated", alert_id)
        disable_alert(credentials, rtstream_id, index_id, alert_id)
