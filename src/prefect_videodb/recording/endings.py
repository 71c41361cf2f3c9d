"""What becomes of a recording that somebody else ends: a cancelled run, an orphaned stream."""

import time
from dataclasses import dataclass, field

from prefect.client.schemas.objects import FlowRun

from prefect_videodb._logging import get_logger
from prefect_videodb.client import Client, Polling, streams
from prefect_videodb.client.models import Export, RTStream
from prefect_videodb.errors import InvalidRequest, JobUnfinished, VideoDBError
from prefect_videodb.recording.models import Links
from prefect_videodb.recording.ownership import title_in

_TRIES = 3
_PAUSE_S = 2.0
# Whoever was cancelled has 30 s, most of them for the stop. A video that takes longer is made all the same.
_WAIT_FOR_VIDEO_S = 5.0


def is_exported_when_cancelled(run: FlowRun) -> bool:
    """Say whether what a cancelled recording holds is to be kept: who started it may have said that it is not."""
    options = run.parameters.get("options")
    return not (isinstance(options, dict) and options.get("export_when_cancelled") is False)


@dataclass(frozen=True, slots=True)
class Requested:
    """A video that was asked for, and where it plays; its id is None while it is being made."""

    video_id: str | None
    links: Links = field(default_factory=Links)


def links_of(export: Export) -> Links:
    """Return where an export plays; a recording of sound alone has no player."""
    return Links(stream_url=export.stream_url, player_url=export.player_url)


def request_export(
    client: Client, stream: RTStream, wait_s: float = _WAIT_FOR_VIDEO_S, *, raises: bool = False
) -> Requested | None:
    """Ask for a permanent video of what a stopped stream recorded; the service makes it whether anybody waits or not.

    It is called as the recording is. Repeated, it gives the same video.

    Args:
        client: to the account.
        stream: what was stopped.
        wait_s: how long to wait for it, in seconds.
        raises: whether to raise when the service cannot be asked, for a caller that tries again later.

    Returns:
        The video; None when there will be none: nothing was recorded, or the service could not be asked.

    Raises:
        VideoDBError: the service cannot be asked, and that is to be raised.
    """
    polling = Polling(timeout_s=wait_s, interval_s=1.0)
    for _ in range(_TRIES):  # how soon after a stop a stream can be exported is not known
        try:
            video = client.send(streams.export(stream.id, name=title_in(stream.name)), polling=polling)
        except JobUnfinished:
            get_logger().info("What stream %s recorded is being made into a video", stream.id)
            return Requested(None)
        except InvalidRequest as refusal:
            get_logger().info("Nothing of stream %s can be exported: %s", stream.id, refusal)
        except VideoDBError as error:
            if raises:
                raise
            get_logger().warning("The export of stream %s could not be asked for: %s", stream.id, error)
        else:
            get_logger().info("What stream %s recorded is the video %s", stream.id, video.video_id)
            return Requested(video.video_id, links_of(video))
        time.sleep(_PAUSE_S)
    return None
