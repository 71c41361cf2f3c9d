"""The end of a watch: its alerts are disabled, its indexes stopped. An adopted stream is left running."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect import task
from prefect.exceptions import Pause

from prefect_videodb._logging import get_logger
from prefect_videodb.blocks import VideoDBCredentials
from prefect_videodb.client import Client, alerts, indexes
from prefect_videodb.errors import AuthenticationError, ConfigurationError, InvalidRequest, NotFound, VideoDBError
from prefect_videodb.recording.ownership import owner, undisturbed
from prefect_videodb.tasks._options import OPERATION, RunName
from prefect_videodb.tasks.alerts import DISABLED
from prefect_videodb.tasks.indexes import STOPPED

# With the stream, which is stopped first, within the 30 s that a cancelled run has before it is killed.
_STOP_WITHIN_S = 8.0
_ANSWER_WITHIN_S = 3.0


@dataclass
class Place:
    """Where a watch has its indexes: on which stream, once that is known."""

    rtstream_id: str | None = None
    is_cleared: bool = False


@contextmanager
def clearing(credentials: VideoDBCredentials, flow_run_id: str) -> Iterator[Place]:
    """Stop what this run has on its stream when the body ends in any other way than by doing so itself.

    That is: an error, a time-out, a cancellation (SIGTERM), Ctrl-C. A run that parks has not ended.
    """
    place = Place()
    try:
        yield place
    except Pause:
        raise
    except BaseException:
        if place.rtstream_id and not place.is_cleared:
            with undisturbed():
                try_to_clear(credentials, place.rtstream_id, flow_run_id)
        raise


def try_to_clear(credentials: VideoDBCredentials, rtstream_id: str, flow_run_id: str) -> bool:
    """Clear a stream, asking again while the service does not answer. Gives whether that was done; the log says so."""
    began = time.monotonic()
    # A service that is silent must not use up the time on one request.
    hasty = credentials.model_copy(update={"timeout_s": min(credentials.timeout_s, _ANSWER_WITHIN_S)})
    while True:
        try:
            clear(hasty.get_client(), rtstream_id, flow_run_id)
        except VideoDBError as error:
            hopeless = isinstance(error, AuthenticationError | ConfigurationError)
            if hopeless or time.monotonic() - began >= _STOP_WITHIN_S:
                get_logger().error(
                    "An index of run %s on stream %s may still be running, and billed: %s",
                    *(flow_run_id, rtstream_id, error),
                )
                return False
            time.sleep(1.0)
        else:
            return True


def clear(client: Client, rtstream_id: str, flow_run_id: str) -> None:
    """Disable the alerts and stop the live indexes that a run made on a stream. Repeated, it changes nothing.

    Raises:
        VideoDBError: the service refused or failed.
    """
    try:
        listed = client.send(indexes.list_all(rtstream_id)).indexes
    except NotFound:
        return  # there is no such stream, and nothing on it
    for index in listed:
        if owner(index.name) == UUID(flow_run_id):
            _end(client, rtstream_id, index.id, index.status)


def _end(client: Client, rtstream_id: str, index_id: str, status: str | None) -> None:
    for alert in client.send(alerts.list_all(rtstream_id, index_id)).alerts:
        if alert.status != DISABLED:
            client.send(alerts.disable(rtstream_id, index_id, alert.id))
    if status == STOPPED:
        return
    try:
        client.send(indexes.stop(rtstream_id, index_id))
    except InvalidRequest:  # what stopping a stopped one answers is unknown
        if client.send(indexes.get(rtstream_id, index_id)).status != STOPPED:
            raise
    get_logger().info("Stopped live index %s of stream %s", index_id, rtstream_id)


@task(task_run_name=RunName("stop-watching-{rtstream_id}"), **OPERATION)
def stop_watching(credentials: VideoDBCredentials, rtstream_id: str, flow_run_id: str) -> None:
    """Disable the alerts and stop the live indexes that a run made on a stream.

    Args:
        credentials: the account.
        rtstream_id: the stream, `rts-…`.
        flow_run_id: the run.
    """
    clear(credentials.get_client(), rtstream_id, flow_run_id)
