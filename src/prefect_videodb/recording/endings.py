"""What becomes of a recording that somebody else ends: a cancelled run, an orphaned stream."""

import time

from prefect.client.schemas.objects import FlowRun

from prefect_videodb._logging import get_logger
from prefect_videodb.client import Client, Job, streams
from prefect_videodb.client.models import Export
from prefect_videodb.errors import InvalidRequest, VideoDBError

_TRIES = 3
_PAUSE_S = 2.0


def is_exported_when_cancelled(run: FlowRun) -> bool:
    """Say whether what a cancelled recording holds is to be kept: who started it may have said that it is not."""
    options = run.parameters.get("options")
    return not (isinstance(options, dict) and options.get("export_when_cancelled") is False)


def request_export(client: Client, rtstream_id: str) -> str | None:
    """Ask for a permanent video of what a stopped stream recorded; the service makes it whether anybody waits or not.

    Returns:
        The video's id, where the service knows it at once; None when it is still being made, or nothing was recorded.
    """
    for _ in range(_TRIES):  # how soon after a stop a stream can be exported is not known
        try:
            answer = client.begin(streams.export(rtstream_id))
        except InvalidRequest as refusal:
            get_logger().info("Nothing of stream %s can be exported: %s", rtstream_id, refusal)
        except VideoDBError as error:
            get_logger().warning("The export of stream %s could not be asked for: %s", rtstream_id, error)
        else:
            return _video_id(answer)
        time.sleep(_PAUSE_S)
    return None


def _video_id(answer: Export | Job[Export]) -> str | None:
    return answer.video_id if isinstance(answer, Export) else None
