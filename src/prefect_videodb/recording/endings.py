"""What becomes of a recording that somebody else ends: a cancelled run, an orphaned stream."""

import time
from dataclasses import dataclass

from prefect.client.schemas.objects import FlowRun

from prefect_videodb._logging import get_logger
from prefect_videodb.client import Client, streams
from prefect_videodb.client.models import Export, RTStream
from prefect_videodb.errors import InvalidRequest, VideoDBError
from prefect_videodb.recording.ownership import title_in

_TRIES = 3
_PAUSE_S = 2.0


def is_exported_when_cancelled(run: FlowRun) -> bool:
    """Say whether what a cancelled recording holds is to be kept: who started it may have said that it is not."""
    options = run.parameters.get("options")
    return not (isinstance(options, dict) and options.get("export_when_cancelled") is False)


@dataclass(frozen=True, slots=True)
class Requested:
    """A video that was asked for; its id is None while it is being made."""

    video_id: str | None


def request_export(client: Client, stream: RTStream) -> Requested | None:
    """Ask for a permanent video of what a stopped stream recorded; the service makes it whether anybody waits or not.

    It is called as the recording is.

    Returns:
        The video; None when there will be none: nothing was recorded, or the service could not be asked.
    """
    for _ in range(_TRIES):  # how soon after a stop a stream can be exported is not known
        try:
            answer = client.begin(streams.export(stream.id, name=title_in(stream.name)))
        except InvalidRequest as refusal:
            get_logger().info("Nothing of stream %s can be exported: %s", stream.id, refusal)
        except VideoDBError as error:
            get_logger().warning("The export of stream %s could not be asked for: %s", stream.id, error)
        else:
            video_id = answer.video_id if isinstance(answer, Export) else None
            get_logger().info("What stream %s recorded is exported: %s", stream.id, video_id or "it is being made")
            return Requested(video_id)
        time.sleep(_PAUSE_S)
    return None
